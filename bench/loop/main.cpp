// SPDX-License-Identifier: Apache-2.0
// How fast the loop reacts: each figure beside a yardstick of the same run.
#include <fmt/core.h>

#include <charconv>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>

#include "agent/loop_thread.h"
#include "bench/loop/backends.h"
#include "bench/loop/reaction.h"

namespace outrider::bench {
namespace {

constexpr const char* kUsage =
    "usage: bench_loop [reaction|backends] [--bursts N] [--json] [--report "
    "FILE]\n"
    "\n"
    "Caps task groups under the v1 cpu tree, lets guests in them burst while\n"
    "every CPU is busy, and raises a cap when BPF tells that it is about to\n"
    "bind. Beside it, in the same run:\n"
    "  ring    a BPF program that only stamps and calls, run by a thread on a\n"
    "          busy CPU, and a pwrite to the same file of a group without "
    "tasks\n"
    "  poller  reads cpu.stat each second on the same thread, and raises\n"
    "And how long a call through a ring takes to the loop's handler, by epoll\n"
    "and by io_uring.\n"
    "  --bursts N     edges to measure, at least (250)\n"
    "  --json         as JSON\n"
    "  --report FILE  the JSON into FILE as well\n"
    "Exit 1 when a figure is over its limit or wrong, 77 when this machine\n"
    "cannot measure it.\n";

void print_table(const std::vector<Figure>& figures) {
  fmt::print("{:<30} {:>12} {:>21} {:>8}  {:<4} {}\n", "FIGURE", "VALUE",
             "QUARTILES", "LIMIT", "", "BESIDE");
  for (const Figure& figure : figures) {
    const std::string limit =
        figure.limit == 0
            ? "-"
            : fmt::format("{}{:g}",
                          figure.at_least ? ">=" : "<=", figure.limit);
    fmt::print("{:<30} {:>9.2f} {:<2} {:>10.2f}..{:<9.2f} {:>8}  {:<4} {}\n",
               figure.name, figure.value, figure.unit, figure.low, figure.high,
               limit, figure.holds() ? "ok" : "OVER", figure.yardstick);
  }
}

std::string to_json(const std::vector<Figure>& figures) {
  std::string text = "{\"schema\":1,\"figures\":[";
  const char* comma = "";
  for (const Figure& figure : figures) {
    text += fmt::format(
        "{}{{\"name\":\"{}\",\"unit\":\"{}\",\"value\":{:.3f},"
        "\"quartiles\":[{:.3f},{:.3f}],\"limit\":{:g},\"holds\":{},"
        "\"beside\":\"{}\"}}",
        comma, figure.name, figure.unit, figure.value, figure.low, figure.high,
        figure.limit, figure.holds(), figure.yardstick);
    comma = ",";
  }
  return text + "]}\n";
}

struct Arguments {
  std::string_view part;  // empty: all
  ReactionOptions reaction;
  bool json = false;
  std::string report;
};

bool parse(int count, char** words, Arguments& arguments) {
  for (int i = 1; i < count; ++i) {
    const std::string_view word = words[i];
    const bool has_value = i + 1 < count;
    if (word == "--json") {
      arguments.json = true;
    } else if (word == "reaction" || word == "backends") {
      arguments.part = word;
    } else if (word == "--report" && has_value) {
      arguments.report = words[++i];
    } else if (word == "--bursts" && has_value) {
      const std::string_view number = words[++i];
      const char* end = number.data() + number.size();
      const auto parsed =
          std::from_chars(number.data(), end, arguments.reaction.bursts);
      if (parsed.ec != std::errc{} || parsed.ptr != end) return false;
    } else {
      return false;
    }
  }
  return arguments.reaction.bursts > 0;
}

bool write_report(const std::string& path, const std::string& text) {
  FILE* file = fopen(path.c_str(), "we");
  if (file == nullptr) return false;
  const bool written = fputs(text.c_str(), file) >= 0;
  return fclose(file) == 0 && written;
}

// As the agent's loop; what is started from here on is ordinary again.
void prioritise() {
  auto prompt = prioritise_loop(1);
  if (prompt) return;
  fmt::print(stderr,
             "loop: REFUSED: {}: {}. The figures are an ordinary thread's.\n",
             prompt.error().what, std::strerror(prompt.error().code));
}

Result<std::vector<Figure>> measure_all(const Arguments& arguments) {
  prioritise();
  std::vector<Figure> all;
  const auto add = [&all](Result<std::vector<Figure>> figures) -> Result<> {
    if (!figures) return tl::unexpected<Error>(std::move(figures.error()));
    for (Figure& figure : *figures) all.push_back(std::move(figure));
    return {};
  };
  if (arguments.part != "backends") {
    auto added = add(measure_reaction(arguments.reaction));
    if (!added) return pass(added, "reaction");
  }
  if (arguments.part != "reaction") {
    auto added = add(measure_backends());
    if (!added) return pass(added, "back-ends");
  }
  return all;
}

int measure(const Arguments& arguments) {
  auto figures = measure_all(arguments);
  if (!figures) {
    const Error& error = figures.error();
    fmt::print("bench_loop: {}{}{}\n", error.what, error.code == 0 ? "" : ": ",
               error.code == 0 ? "" : std::strerror(error.code));
    return error.what.find("cannot measure") != std::string::npos ? 77 : 1;
  }
  const std::string json = to_json(*figures);
  if (arguments.json) {
    fmt::print("{}", json);
  } else {
    print_table(*figures);
  }
  if (!arguments.report.empty() && !write_report(arguments.report, json)) {
    fmt::print(stderr, "bench_loop: {}: {}\n", arguments.report,
               std::strerror(errno));
    return 1;
  }
  for (const Figure& figure : *figures) {
    if (!figure.holds()) return 1;
  }
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
