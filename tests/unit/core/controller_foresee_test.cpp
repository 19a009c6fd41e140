// SPDX-License-Identifier: Apache-2.0
// What is foreseen minutes ahead goes into the reserve, and nowhere else.
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <vector>

#include "tests/unit/core/controller_bench.h"

namespace outrider {
namespace {

using std::chrono::seconds;

/// Settled at a demand of 200 mcpu that nobody foretells to rise.
void settle(Bench& bench) {
  bench.add(1, "a", 2);
  bench.demand(1, 200);
  bench.foretold = flat(200);
  bench.run(seconds{8});
  ASSERT_EQ(bench.state(1).reserve, MilliCpus{});
}

TEST(ControllerForesee, TheReserveCoversIt) {
  Bench bench(enforcing());
  settle(bench);
  const std::int64_t cap = bench.cap(1);
  bench.controller().foresee(VmId{1}, MilliCpus{1500});
  EXPECT_TRUE(bench.tick().empty()) << "the cap stays";
  EXPECT_EQ(bench.cap(1), cap);
  EXPECT_EQ(bench.state(1).foreseen, MilliCpus{1500});
  EXPECT_GE(bench.state(1).target + bench.state(1).reserve, MilliCpus{1500});
  bench.edge(1);
  EXPECT_GE(bench.cap(1), 1500);
}

TEST(ControllerForesee, NothingForeseenChangesNothing) {
  Bench bench(enforcing());
  settle(bench);
  bench.controller().foresee(VmId{1}, MilliCpus{1500});
  bench.tick();
  bench.controller().foresee(VmId{1}, MilliCpus{});
  bench.tick();
  EXPECT_EQ(bench.state(1).reserve, MilliCpus{});
  bench.controller().foresee(VmId{1}, MilliCpus{-5});
  EXPECT_EQ(bench.state(1).foreseen, MilliCpus{});
  bench.controller().foresee(VmId{9}, MilliCpus{700});  // no such VM
}

TEST(ControllerForesee, WhatIsForetoldHigherCounts) {
  Bench bench(enforcing());
  settle(bench);
  bench.foretold = flat(900);
  bench.tick();
  const MilliCpus before = bench.state(1).target + bench.state(1).reserve;
  bench.controller().foresee(VmId{1}, MilliCpus{600});
  bench.tick();
  EXPECT_EQ(bench.state(1).target + bench.state(1).reserve, before);
}

TEST(ControllerForesee, NeverGoesAboveTheCeiling) {
  Bench bench(enforcing());
  settle(bench);
  bench.controller().foresee(VmId{1}, MilliCpus{std::int64_t{1} << 44});
  bench.run(seconds{1});
  const VmState& vm = bench.state(1);
  EXPECT_LE(vm.target + vm.reserve, vm.policy.ceiling);
  bench.edge(1);
  EXPECT_LE(bench.cap(1), vm.policy.ceiling.count());
}

TEST(ControllerForesee, TakesNothingThatOthersNeed) {
  Bench bench(enforcing(), 2);
  settle(bench);
  bench.add(2, "b", 2);
  bench.demand(2, 1500);
  bench.run(seconds{2});
  bench.controller().foresee(VmId{1}, MilliCpus{2000});
  bench.run(seconds{1});
  EXPECT_GE(bench.state(2).target, MilliCpus{1500});
}

// To compare with what no forecast of any kind has touched.
TEST(ControllerForesee, IsPassedOverWhereNothingIsForecast) {
  Policy policy = enforcing();
  policy.shadow.forecast = false;
  Bench bench(policy);
  settle(bench);
  bench.controller().foresee(VmId{1}, MilliCpus{1500});
  bench.tick();
  EXPECT_EQ(bench.state(1).reserve, MilliCpus{});
}

TEST(ControllerForesee, IsPartOfTheState) {
  Bench bench(enforcing());
  settle(bench);
  bench.controller().foresee(VmId{1}, MilliCpus{1500});
  std::vector<std::byte> state;
  bench.controller().save(state);
  Bench other(enforcing());
  ASSERT_TRUE(other.controller().load(state));
  EXPECT_EQ(other.state(1).foreseen, MilliCpus{1500});
}

TEST(ControllerForesee, AStateWithAnyPeakIsReadAgain) {
  Bench bench(enforcing());
  settle(bench);
  bench.controller().foresee(
      VmId{1}, MilliCpus{std::numeric_limits<std::int64_t>::max()});
  bench.run(seconds{1});
  std::vector<std::byte> state;
  bench.controller().save(state);
  Bench other(enforcing());
  EXPECT_TRUE(other.controller().load(state));
}

}  // namespace
}  // namespace outrider
