// SPDX-License-Identifier: Apache-2.0
// What a forecast costs: a step of one series among many, whose states do not
// all fit the nearest caches, and a piece of the search for a season.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "agent/core/peak_forecaster.h"
#include "agent/core/season_search.h"

namespace outrider {
namespace {

constexpr std::uint32_t kHorizon = 6;
constexpr std::uint64_t kRestSteps = 64;   // after which a search begins
constexpr std::uint64_t kWarmSteps = 600;  // the ring is full, a season found
constexpr std::uint64_t kAhead = 2;        // as the controller's tick

/// Bursts of 30 of 97 steps, each series in a phase of its own, with noise.
Observation demand(std::uint64_t step, std::uint64_t series) {
  const std::uint64_t mixed = (step * 1000 + series) * 0x9E3779B97F4A7C15U;
  const auto noise = static_cast<std::int64_t>(mixed >> 58);
  const bool burst = (step + series * 31) % 97 < 30;
  const MilliCpus value{(burst ? 2000 : 50) + noise};
  return {.value = value, .least = value};
}

std::vector<std::unique_ptr<Forecaster>> warm_series(std::int64_t count) {
  std::vector<std::unique_ptr<Forecaster>> series;
  for (std::int64_t i = 0; i < count; ++i) {
    SeasonSearch search;
    series.push_back(make_forecaster(kHorizon));
    for (std::uint64_t step = 0; step < kWarmSteps; ++step) {
      series.back()->observe(demand(step, static_cast<std::uint64_t>(i)));
      series.back()->ponder(search, {});
    }
  }
  return series;
}

/// Series that are long in the making: a run's is of so many steps.
void few_steps(benchmark::internal::Benchmark* bench) {
  bench->Iterations(10)->Repetitions(5)->ReportAggregatesOnly();
  bench->ComputeStatistics("min", [](const std::vector<double>& runs) {
    return *std::min_element(runs.begin(), runs.end());
  });
}

/// Of 20 short runs: others use this machine as well.
void fastest(benchmark::internal::Benchmark* bench) {
  bench->MinTime(0.02)->Repetitions(20)->ReportAggregatesOnly();
  bench->ComputeStatistics("min", [](const std::vector<double>& runs) {
    return *std::min_element(runs.begin(), runs.end());
  });
}

/// One step of each series; the time told is that of one.
void observe(benchmark::State& state) {
  const auto series = warm_series(state.range(0));
  std::uint64_t step = kWarmSteps;
  std::int64_t sum = 0;
  for (auto _ : state) {
    for (std::uint64_t i = 0; i < series.size(); ++i) {
      if (i + kAhead < series.size()) series[i + kAhead]->prefetch();
      series[i]->observe(demand(step, i));
      sum += series[i]->forecast().peak.back().count();
    }
    ++step;
  }
  benchmark::DoNotOptimize(sum);
  if (series.front()->forecast().season_steps != 97) {
    state.SkipWithError("the season was not found: the figure is of less work");
  }
  state.counters["per_step"] =
      benchmark::Counter(static_cast<double>(state.range(0)),
                         benchmark::Counter::kIsIterationInvariantRate |
                             benchmark::Counter::kInvert);
}
BENCHMARK(observe)->Arg(1)->Arg(1000)->Apply(fastest);
BENCHMARK(observe)->Arg(40000)->Apply(few_steps);

/// What of the above makes the series, not the forecast.
void make_demand(benchmark::State& state) {
  std::uint64_t step = 0;
  for (auto _ : state) benchmark::DoNotOptimize(demand(++step, 7));
}
BENCHMARK(make_demand)->Apply(fastest);

/// A piece of the search, of series that have rested.
void ponder(benchmark::State& state) {
  SeasonSearch search;
  auto series = warm_series(1000);
  std::size_t i = 0;
  for (auto _ : state) {
    if (!series[i]->ponder(search, {})) continue;
    state.PauseTiming();
    for (std::uint64_t step = 0; step < kRestSteps; ++step) {
      series[i]->observe(demand(kWarmSteps + step, i));
    }
    i = i + 1 < series.size() ? i + 1 : 0;
    state.ResumeTiming();
  }
}
BENCHMARK(ponder)->Apply(fastest);

}  // namespace
}  // namespace outrider
