// SPDX-License-Identifier: Apache-2.0
// Seeds against the invariants: sim_check [--seeds N] [--first N] [--seconds N]
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <cstdint>

#include "tests/sim/sim_loop.h"

namespace {

struct Arguments {
  std::uint64_t first = 1;
  std::uint64_t seeds = 500;
  std::int64_t seconds = 60;
};

int check(const Arguments& arguments) {
  using outrider::sim::SimLoop;
  std::uint64_t broken = 0;
  std::uint64_t writes = 0;
  std::uint64_t journal_bytes = 0;
  for (std::uint64_t i = 0; i < arguments.seeds; ++i) {
    const std::uint64_t seed = arguments.first + i;
    SimLoop loop(outrider::sim::make_scenario(seed));
    auto breach = loop.run(arguments.seconds * 1000);
    if (!breach) breach = loop.replay();
    journal_bytes += loop.journal_bytes();
    for (std::size_t vm = 0; vm < loop.controller().vm_count(); ++vm) {
      writes += loop.controller().vm(vm).stats.writes;
    }
    if (breach) {
      ++broken;
      fmt::print("seed {}: at {} ms: {}\n", seed, loop.host().now_ms(),
                 *breach);
    }
    if ((i + 1) % 500 == 0) fmt::print("{} seeds\n", i + 1);
    std::fflush(stdout);
  }
  fmt::print("{} seeds of {} s: {} broke an invariant, {} writes\n",
             arguments.seeds, arguments.seconds, broken, writes);
  fmt::print("journals of {:.1f} MB, replayed\n",
             static_cast<double>(journal_bytes) / 1e6);
  return broken == 0 ? 0 : 1;
}

}  // namespace

int main(int count, char** words) {
  CLI::App app{
      "Runs the closed loop on random hosts, without a kernel, checks the\n"
      "invariants after every tick, and replays each run's journal: the\n"
      "decisions must be the same."};
  Arguments arguments;
  app.add_option("--first", arguments.first, "the first seed (1)");
  app.add_option("--seeds", arguments.seeds, "how many (500)");
  app.add_option("--seconds", arguments.seconds, "simulated, of each (60)");
  CLI11_PARSE(app, count, words);
  return check(arguments);
}
