// SPDX-License-Identifier: Apache-2.0
// What the eyes cost: each figure beside a yardstick of the same run.
#include <fmt/core.h>
#include <unistd.h>

#include <climits>
#include <cstdlib>
#include <cstring>
#include <string>

#include "bench/probe/kvm_cost.h"
#include "bench/probe/sense_cost.h"
#include "bench/probe/switch_cost.h"

namespace outrider::bench {
namespace {

constexpr const char* kUsage =
    "usage: bench_probe [switch|sense|kvm]... [--quads N] [--json] [--report]\n"
    "\n"
    "Measures what the eyes cost, in A-B-B-A order against a yardstick:\n"
    "  switch  the sched_switch program above an empty one, and a ping-pong\n"
    "  sense   reading 1,000 VMs from memory, against their cgroup files\n"
    "  kvm     kvm_entry and kvm_exit above empty programs (needs a guest)\n"
    "All of them without a word. Exit 1 when a figure is over its limit, "
    "unless\n"
    "--report asks for the figures alone.\n";

void append(std::vector<Figure>& all, std::vector<Figure> more) {
  for (Figure& figure : more) all.push_back(std::move(figure));
}

void print_table(const std::vector<Figure>& figures) {
  fmt::print("{:<26} {:>9} {:>19} {:>8}  {:<4} {}\n", "FIGURE", "MEDIAN",
             "QUARTILES", "LIMIT", "", "BESIDE");
  for (const Figure& figure : figures) {
    const std::string limit =
        figure.limit == 0
            ? "-"
            : fmt::format("{}{:g}",
                          figure.at_least ? ">=" : "<=", figure.limit);
    fmt::print("{:<26} {:>6.2f} {:<2} {:>9.2f}..{:<8.2f} {:>8}  {:<4} {}\n",
               figure.name, figure.value, figure.unit, figure.low, figure.high,
               limit, figure.holds() ? "ok" : "OVER", figure.yardstick);
  }
}

void print_json(const std::vector<Figure>& figures) {
  fmt::print("{{\"schema\":1,\"figures\":[");
  const char* comma = "";
  for (const Figure& figure : figures) {
    fmt::print(
        "{}{{\"name\":\"{}\",\"unit\":\"{}\",\"median\":{:.3f},"
        "\"quartiles\":[{:.3f},{:.3f}],\"limit\":{:g},\"holds\":{},"
        "\"beside\":\"{}\"}}",
        comma, figure.name, figure.unit, figure.value, figure.low, figure.high,
        figure.limit, figure.holds(), figure.yardstick);
    comma = ",";
  }
  fmt::print("]}}\n");
}

// minivm is built beside this program.
std::string minivm_path() {
  std::string path(PATH_MAX, '\0');
  const ssize_t length = readlink("/proc/self/exe", path.data(), path.size());
  path.resize(length > 0 ? static_cast<std::size_t>(length) : 0);
  return path.substr(0, path.rfind('/') + 1) + "minivm";
}

struct Arguments {
  std::string parts;
  int quads = 20;
  bool json = false;
  bool report = false;  // limits are shown, not held
};

bool parse(int count, char** words, Arguments& arguments) {
  for (int i = 1; i < count; ++i) {
    const std::string word = words[i];
    if (word == "--json") {
      arguments.json = true;
    } else if (word == "--report") {
      arguments.report = true;
    } else if (word == "--quads" && i + 1 < count) {
      arguments.quads = std::atoi(words[++i]);
    } else if (word == "switch" || word == "sense" || word == "kvm") {
      arguments.parts += word + " ";
    } else {
      return false;
    }
  }
  return arguments.quads > 0;
}

int measure(const Arguments& arguments) {
  const auto wants = [&](const char* part) {
    return arguments.parts.empty() ||
           arguments.parts.find(part) != std::string::npos;
  };
  std::vector<Figure> figures;
  if (wants("switch")) append(figures, measure_switch(arguments.quads));
  if (wants("sense")) append(figures, measure_sense(arguments.quads));
  if (wants("kvm")) {
    std::vector<Figure> kvm =
        measure_kvm(minivm_path().c_str(), arguments.quads);
    if (kvm.empty()) fmt::print(stderr, "probe: no guest can be measured\n");
    append(figures, std::move(kvm));
  }
  if (arguments.json) {
    print_json(figures);
  } else {
    print_table(figures);
  }
  for (const Figure& figure : figures) {
    if (!figure.holds() && !arguments.report) return 1;
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
