// SPDX-License-Identifier: Apache-2.0
// What qmp/ costs, and what a bad peer costs the others: each figure beside a
// yardstick of the same run.
#include <fmt/core.h>

#include <charconv>
#include <string>
#include <string_view>
#include <vector>

#include "bench/qmp/measures.h"

namespace outrider::bench {
namespace {

constexpr const char* kUsage =
    "usage: bench_qmp [isolation|fan_out|round_trip]... [--quads N] [--json]\n"
    "\n"
    "In A-B-B-A order against a yardstick:\n"
    "  isolation   63 peers beside one that is hung, silent, slow or flooding\n"
    "  fan_out     100 peers asked from one thread, against one\n"
    "  round_trip  a real QEMU, against a bare client\n"
    "All of them without a word. Exit 1 when a figure is over its limit or an\n"
    "answer is wrong.\n";

struct Part {
  const char* name;
  std::vector<Figure> (*measure)(int quads);
};
constexpr Part kParts[] = {{"isolation", measure_isolation},
                           {"fan_out", measure_fan_out},
                           {"round_trip", measure_round_trip}};

struct Arguments {
  std::vector<Part> parts;
  int quads = 9;
  bool json = false;
};

bool parse_count(std::string_view text, int& count) {
  const char* const end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, count);
  return parsed.ec == std::errc{} && parsed.ptr == end && count > 0;
}

bool parse(int count, char** words, Arguments& arguments) {
  for (int i = 1; i < count; ++i) {
    const std::string_view word = words[i];
    bool known = word == "--json";
    arguments.json = arguments.json || known;
    if (word == "--quads" && i + 1 < count)
      known = parse_count(words[++i], arguments.quads);
    for (const Part& part : kParts) {
      if (word != part.name) continue;
      arguments.parts.push_back(part);
      known = true;
    }
    if (!known) return false;
  }
  if (arguments.parts.empty())
    arguments.parts.assign(std::begin(kParts), std::end(kParts));
  return true;
}

void print_table(const std::vector<Figure>& figures) {
  fmt::print("{:<20} {:>11} {:>19} {:>8}  {:<4} {}\n", "FIGURE", "MEDIAN",
             "QUARTILES", "LIMIT", "", "BESIDE");
  for (const Figure& figure : figures) {
    const std::string limit =
        figure.limit == 0 ? "-" : fmt::format("<={:g}", figure.limit);
    fmt::print("{:<20} {:>8.3f} {:<2} {:>9.3f}..{:<8.3f} {:>8}  {:<4} {}\n",
               figure.name, figure.value, figure.unit, figure.low, figure.high,
               limit, figure.holds() ? "ok" : "OVER", figure.yardstick);
  }
}

void print_json(const std::vector<Figure>& figures) {
  fmt::print("{{\"schema\":1,\"figures\":[");
  const char* comma = "";
  for (const Figure& figure : figures) {
    fmt::print(
        "{}{{\"name\":\"{}\",\"unit\":\"{}\",\"median\":{:.4f},"
        "\"quartiles\":[{:.4f},{:.4f}],\"limit\":{:g},\"holds\":{},"
        "\"beside\":\"{}\"}}",
        comma, figure.name, figure.unit, figure.value, figure.low, figure.high,
        figure.limit, figure.holds(), figure.yardstick);
    comma = ",";
  }
  fmt::print("]}}\n");
}

int measure(const Arguments& arguments) {
  std::vector<Figure> figures;
  for (const Part& part : arguments.parts) {
    std::vector<Figure> its = part.measure(arguments.quads);
    if (its.empty())
      fmt::print(stderr, "bench_qmp: {}: not on this machine\n", part.name);
    for (Figure& figure : its) figures.push_back(std::move(figure));
  }
  if (arguments.json) {
    print_json(figures);
  } else {
    print_table(figures);
  }
  for (const Figure& figure : figures)
    if (!figure.holds()) return 1;
  return 0;
}

}  // namespace
}  // namespace outrider::bench

int main(int count, char** words) {
  outrider::bench::Arguments arguments;
  if (!outrider::bench::parse(count, words, arguments)) {
    fmt::print(stderr, "{}", outrider::bench::kUsage);
    return 2;
  }
  return outrider::bench::measure(arguments);
}
