// SPDX-License-Identifier: Apache-2.0
// The forecaster against what others ship, on real traces: README's table.
#include <fmt/core.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <map>

#include "agent/eval/method.h"
#include "agent/eval/score.h"
#include "bench/eval/closed_loop.h"
#include "bench/eval/outlooks.h"
#include "bench/eval/table.h"
#include "bench/eval/trace_sets.h"

namespace {

using namespace outrider;
using namespace outrider::bench;

constexpr const char* kYardstick = "autopilot-like";
constexpr const char* kOurs = "outrider";  // the first of the methods
constexpr std::array<double, 2> kViolations = {0.05, 0.01};

struct Options {
  std::string traces = "../shared/traces";
  std::vector<std::string> sets;
  std::vector<std::string> methods;
  bool is_long = false;
  bool is_closed = false;
  bool json = false;
};

bool is_wanted(const std::vector<std::string>& wanted,
               const std::string& name) {
  return wanted.empty() ||
         std::find(wanted.begin(), wanted.end(), name) != wanted.end();
}

std::vector<eval::MethodRow> wanted_methods(const Options& options) {
  std::vector<eval::MethodRow> rows;
  for (auto& row : eval::methods()) {
    if (row.name == kYardstick || is_wanted(options.methods, row.name)) {
      rows.push_back(std::move(row));
    }
  }
  return rows;
}

void say(const std::string& line) {
  if (isatty(STDERR_FILENO) != 0) fmt::print(stderr, "\r\033[K{}", line);
}

void run_set(const TraceSet& trace_set, const eval::SeriesSet& set,
             const std::vector<eval::MethodRow>& rows, Results& results) {
  results.sets.push_back(trace_set.name);
  results.sources.push_back(trace_set.source);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    say(fmt::format("{}: {}", set.name, rows[i].name));
    const bool can_run = !rows[i].needs_season || set.season > 0;
    results.methods[i].curves.push_back(can_run ? eval::run_method(rows[i], set)
                                                : eval::Curve{});
  }
}

/// Each wanted set, in turn. False: one cannot be read, and why was said.
bool read_sets(
    const Options& options,
    const std::function<void(const TraceSet&, const eval::SeriesSet&)>& take) {
  for (const TraceSet& trace_set : trace_sets()) {
    if (!is_wanted(options.sets, trace_set.name)) continue;
    const auto set = load(trace_set, options.traces);
    if (!set) {
      const int code = set.error().code;
      fmt::print(stderr, "bench_eval: {}{}{}\n", set.error().what,
                 code == 0 ? "" : ": ", code == 0 ? "" : std::strerror(code));
      return false;
    }
    take(trace_set, *set);
  }
  say("");
  return true;
}

int run(const Options& options) {
  const auto rows = wanted_methods(options);
  Results results;
  for (const auto& row : rows) results.methods.push_back({row.name, {}});
  results.yardstick = static_cast<std::size_t>(
      std::find_if(rows.begin(), rows.end(),
                   [](auto& row) { return row.name == kYardstick; }) -
      rows.begin());
  const bool is_read = read_sets(
      options, [&](const TraceSet& trace_set, const eval::SeriesSet& set) {
        run_set(trace_set, set, rows, results);
      });
  if (!is_read) return 1;
  if (options.json) {
    fmt::print("{}", over_json(results, kViolations));
    return 0;
  }
  for (const double violations : kViolations) {
    fmt::print("over-allocation in % at {:.0f} % violations\n\n{}\n",
               100 * violations, over_table(results, violations));
  }
  return 0;
}

// Of the sets with a value in 5 minutes; PlanetLab's end after a day.
bool has_long_horizon(const eval::SeriesSet& set) { return set.season > 0; }

int run_long(const Options& options) {
  std::map<std::string, OutlookScores> by_set;
  const bool is_read =
      read_sets(options, [&](const TraceSet&, const eval::SeriesSet& set) {
        if (!has_long_horizon(set)) return;
        say(set.name);
        by_set[set.name] = run_outlooks(set);
      });
  if (!is_read) return 1;
  if (options.json) {
    fmt::print("{}", outlook_json(by_set));
    return 0;
  }
  for (const std::size_t ahead : {12, 288}) {
    fmt::print(
        "{} steps ahead: error relative to seasonal naive (share of the "
        "values in the 80 % interval)\n\n{}\n",
        ahead, outlook_table(by_set, ahead));
  }
  return 0;
}

// The set whose demand is known every 10 ms; where ours is set to tell what is
// enough 80, 95 and 99 times of 100.
constexpr const char* kLoopSet = "fp-10ms";
const std::vector<double> kLoopKnobs = {0.8, 0.95, 0.99};

int run_loops(const Options& options) {
  const auto sets = trace_sets();
  const auto trace_set = std::find_if(
      sets.begin(), sets.end(), [](auto& set) { return set.name == kLoopSet; });
  auto set = load(*trace_set, options.traces);
  if (!set) {
    fmt::print(stderr, "bench_eval: {}\n", set.error().what);
    return 1;
  }
  std::vector<LoopCurve> curves;
  for (const auto& row : eval::methods()) {
    const bool is_ours = row.name == kOurs;
    if (row.needs_season ||
        !(is_ours || is_wanted(options.methods, row.name))) {
      continue;
    }
    say(row.name);
    curves.push_back(run_closed_loop(row, *set));
  }
  say("");
  fmt::print("{}", options.json
                       ? loop_json(curves, curves.front(), kLoopKnobs)
                       : loop_table(curves, curves.front(), kLoopKnobs));
  return 0;
}

}  // namespace

int main(int count, char** arguments) {
  Options options;
  CLI::App app{
      "Runs allocation methods over real traces, one step ahead, and\n"
      "compares what they allocate in vain at equal violations."};
  app.add_option("--traces", options.traces, "folder of the traces")
      ->capture_default_str();
  app.add_option("--sets", options.sets, "only these")->delimiter(',');
  app.add_option("--methods", options.methods, "only these")->delimiter(',');
  app.add_flag(
      "--long", options.is_long,
      "the models of the long horizon instead, an hour and a day ahead");
  app.add_flag("--closed-loop", options.is_closed,
               "the methods set a simulated VM's caps every 10 ms instead");
  app.add_flag("--json", options.json, "for programs");
  CLI11_PARSE(app, count, arguments);
  if (options.is_closed) return run_loops(options);
  return options.is_long ? run_long(options) : run(options);
}
