// SPDX-License-Identifier: Apache-2.0
// What the journal costs: nanoseconds and bytes a VM-tick, of busy VMs whose
// every figure wanders, and of a host where nine of ten are idle.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

#include "agent/core/journal_record.h"
#include "agent/core/peak_forecaster.h"

namespace outrider::bench {
namespace {

constexpr Duration kTick = std::chrono::milliseconds{20};
constexpr std::size_t kTurns = 64;

/// Ticks of a random walk, made beforehand; each a tick's inputs.
std::vector<std::vector<CpuInput>> random_walk(std::size_t vms,
                                               std::size_t one_busy_in) {
  std::mt19937 random(1);
  const auto step = [&random](std::int32_t& figure, std::int32_t most) {
    const auto way = static_cast<std::int32_t>(random() % 201) - 100;
    figure = std::clamp(figure + way, 0, most);
  };
  std::vector<std::vector<CpuInput>> ticks(kTurns);
  std::vector<CpuInput> now(vms);
  for (std::size_t i = 0; i < vms; ++i) now[i].vm = VmId{std::uint32_t(i) + 1};
  for (auto& tick : ticks) {
    for (std::size_t i = 0; i < vms; i += one_busy_in) {
      step(now[i].demand[0], 4000);
      step(now[i].demand[1], 300);
      step(now[i].demand[3], 300);
      step(now[i].wait, 1000);
      step(now[i].open_wait, 500);
      now[i].usage = now[i].demand[0] + now[i].demand[1] + now[i].demand[3] -
                     now[i].open_wait;
      now[i].overcounted = random() % 4 == 0 ? 50 : 0;
      now[i].upper_bound = now[i].open_wait > 20;
    }
    tick = now;
  }
  return ticks;
}

void encode(benchmark::State& state, std::size_t one_busy_in) {
  const auto vms = static_cast<std::size_t>(state.range(0));
  const auto ticks = random_walk(vms, one_busy_in);
  Controller controller(Policy{}, {.cpus = 64}, kTick, make_forecaster);
  for (std::size_t i = 0; i < vms; ++i) {
    (void)controller.add_vm({.id = VmId{std::uint32_t(i) + 1}});
  }
  // One in twenty VMs is written to in a tick.
  std::vector<Action> actions;
  for (std::size_t i = 0; i < (vms + 19) / 20; ++i) {
    actions.push_back(
        {.vm = VmId{std::uint32_t(i) * 20 + 1}, .value = 1500, .old = 1200});
  }
  const std::vector<Outcome> outcomes(
      actions.size(), {.kind = Outcome::Kind::kApplied, .value = 1500});
  const Decision decision{.actions = actions,
                          .outcomes = outcomes,
                          .took = {.sense = std::chrono::microseconds{40},
                                   .decide = std::chrono::microseconds{90},
                                   .act = std::chrono::microseconds{200}}};
  JournalEncoder encoder;
  std::vector<std::byte> out;
  Instant now{std::chrono::seconds{1000}};
  std::uint64_t bytes = 0;
  std::size_t turn = 0;
  for (auto _ : state) {
    now += kTick + Duration{turn * 997 % 90'000};
    out.clear();
    encoder.tick({.now = now, .interval = kTick, .vms = ticks[turn]}, decision,
                 allocations_checksum(controller), out);
    benchmark::DoNotOptimize(out.data());
    bytes += out.size();
    turn = (turn + 1) % kTurns;
  }
  const auto vm_ticks = static_cast<double>(state.iterations() * vms);
  state.counters["bytes_a_vm_tick"] = static_cast<double>(bytes) / vm_ticks;
  state.counters["per_vm_tick"] = benchmark::Counter(
      static_cast<double>(vms), benchmark::Counter::kIsIterationInvariantRate |
                                    benchmark::Counter::kInvert);
}

void busy(benchmark::State& state) { encode(state, 1); }
void mostly_idle(benchmark::State& state) { encode(state, 10); }

BENCHMARK(busy)->Arg(1)->Arg(10)->Arg(100)->Arg(1000);
BENCHMARK(mostly_idle)->Arg(10)->Arg(100)->Arg(1000);

// What a new segment copies in the slow tick.
void save(benchmark::State& state) {
  Controller controller(Policy{}, {.cpus = 64}, kTick, make_forecaster);
  for (std::uint32_t id = 1; id <= state.range(0); ++id) {
    (void)controller.add_vm({.id = VmId{id}});
  }
  std::vector<std::byte> out;
  for (auto _ : state) {
    out.clear();
    controller.save(out);
    benchmark::DoNotOptimize(out.data());
  }
  state.counters["bytes_a_vm"] =
      static_cast<double>(out.size()) / static_cast<double>(state.range(0));
}
BENCHMARK(save)->Arg(100)->Arg(1000);

}  // namespace
}  // namespace outrider::bench
