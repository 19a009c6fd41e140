// SPDX-License-Identifier: Apache-2.0
// What one arbitration costs: plenty, where nothing need be sorted, and a
// shortage in which all four stages work.
#include "agent/core/arbitrate.h"

#include <benchmark/benchmark.h>

#include <cstdint>
#include <random>
#include <vector>

namespace outrider::bench {
namespace {

constexpr std::int64_t kPlenty = 1'000'000'000;
constexpr std::int64_t kShortPerClaim = 250;  // of about 500 asked for

std::vector<Claim> random_claims(std::size_t count) {
  constexpr std::int64_t kWeights[] = {800, 400, 100, 10};
  std::mt19937 random(1);
  std::vector<Claim> claims(count);
  for (Claim& claim : claims) {
    claim.rank = static_cast<std::uint8_t>(random() % 4);
    claim.weight = kWeights[claim.rank];
    claim.floor = MilliCpus{static_cast<std::int64_t>(random() % 100)};
    claim.ceiling = MilliCpus{2'000};
    claim.need = MilliCpus{static_cast<std::int64_t>(random() % 700)};
    claim.reserve = MilliCpus{static_cast<std::int64_t>(random() % 300)};
  }
  return claims;
}

void arbitrate(benchmark::State& state, std::int64_t capacity) {
  const auto count = static_cast<std::size_t>(state.range(0));
  const std::vector<Claim> claims = random_claims(count);
  std::vector<Share> shares(count);
  Arbiter arbiter;
  for (auto _ : state) {
    arbiter.arbitrate(MilliCpus{capacity}, claims, shares);
    benchmark::DoNotOptimize(shares.data());
    benchmark::ClobberMemory();
  }
  state.SetComplexityN(state.range(0));
  state.counters["per_claim"] =
      benchmark::Counter(static_cast<double>(count),
                         benchmark::Counter::kIsIterationInvariantRate |
                             benchmark::Counter::kInvert);
}

void plenty(benchmark::State& state) { arbitrate(state, kPlenty); }
void shortage(benchmark::State& state) {
  arbitrate(state, kShortPerClaim * state.range(0));
}

BENCHMARK(plenty)
    ->RangeMultiplier(10)
    ->Range(10, 10'000)
    ->Complexity(benchmark::oN);
BENCHMARK(shortage)
    ->RangeMultiplier(10)
    ->Range(10, 10'000)
    ->Complexity(benchmark::oN);

}  // namespace
}  // namespace outrider::bench
