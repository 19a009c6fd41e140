// SPDX-License-Identifier: Apache-2.0
#include "agent/core/controller.h"

#include <gtest/gtest.h>

#include <vector>

#include "agent/core/peak_forecaster.h"
#include "tests/unit/core/allocations.h"
#include "tests/unit/core/controller_bench.h"

namespace outrider {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

std::vector<Action> caps_of(const std::vector<Action>& actions) {
  std::vector<Action> caps;
  for (const Action& action : actions) {
    if (action.knob == Knob::kCpuMax) caps.push_back(action);
  }
  return caps;
}

TEST(Controller, SetsNothingInModeObserve) {
  Policy policy = enforcing();
  policy.mode = Mode::kObserve;
  Bench bench(policy);
  bench.add(1, "a");
  bench.demand(1, 900);
  EXPECT_TRUE(bench.run(seconds{10}).empty());
}

TEST(Controller, LearnsBeforeItCuts) {
  Bench bench(enforcing());
  bench.add(1, "a", 2, MilliCpus{1500});
  bench.run(milliseconds{4900});
  EXPECT_EQ(bench.cap(1), 1500);
  bench.run(seconds{1});
  EXPECT_LT(bench.cap(1), 400);
}

TEST(Controller, RaisesAheadOfWhatIsForetold) {
  Bench bench(enforcing());
  bench.add(1, "a", 2);
  bench.run(seconds{8});
  ASSERT_LT(bench.cap(1), 400);
  bench.foretold = flat(1000);
  const auto plan = caps_of(bench.tick());
  ASSERT_EQ(plan.size(), 1U);
  EXPECT_EQ(plan[0].reason, Reason::kForecast);
  EXPECT_GE(plan[0].value, 1000);
}

TEST(Controller, RaisesAtOnceToWhatIsDemanded) {
  Bench bench(enforcing());
  bench.add(1, "a", 2);
  bench.run(seconds{8});
  bench.demand(1, 1000);
  bench.tick();
  const auto plan = caps_of(bench.tick());  // sustained over two ticks
  ASSERT_EQ(plan.size(), 1U);
  EXPECT_EQ(plan[0].reason, Reason::kDemand);
  EXPECT_GE(bench.cap(1), 1000);
}

TEST(Controller, LowersOnceAfterAWhile) {
  Bench bench(enforcing());
  bench.add(1, "a", 2);
  bench.run(seconds{8});
  bench.demand(1, 1000);
  bench.run(seconds{1});
  bench.demand(1, 0);
  // The window of 100 ms empties, then lower_after and an eighth pass.
  EXPECT_TRUE(caps_of(bench.run(milliseconds{100})).empty());
  const auto plan = caps_of(bench.run(seconds{2}));
  ASSERT_EQ(plan.size(), 1U);
  EXPECT_EQ(plan[0].reason, Reason::kLower);
}

/// It has held 1,200 for a while, and now is to need less.
struct HoldingMuch : Bench {
  HoldingMuch() : Bench(enforcing()) {
    add(1, "a", 2);
    run(seconds{8});
    foretold = flat(1200);
    run(seconds{1});
  }
};

// What is left of a burst goes out of the window over a whole cap period.
TEST(Controller, LowersOnceAtTheEndOfABurst) {
  HoldingMuch bench;
  bench.foretold = flat(950);
  EXPECT_TRUE(caps_of(bench.run(milliseconds{200})).empty());
  std::vector<Action> writes;
  for (const std::int64_t left : {750, 550, 350, 150, 0}) {
    bench.foretold = flat(left);
    for (const Action& write : caps_of(bench.tick())) writes.push_back(write);
  }
  for (const Action& write : caps_of(bench.run(seconds{1}))) {
    writes.push_back(write);
  }
  ASSERT_EQ(writes.size(), 1U);
  EXPECT_LT(writes[0].value, 400);
}

TEST(Controller, LowersByAPartAfterLonger) {
  HoldingMuch bench;
  bench.foretold = flat(800);
  EXPECT_TRUE(caps_of(bench.run(milliseconds{400})).empty());
  const auto plan = caps_of(bench.run(milliseconds{200}));
  ASSERT_EQ(plan.size(), 1U);
  EXPECT_LT(plan[0].value, 1100);
}

// Else a need that falls for long would keep all it had.
TEST(Controller, LowersWhileTheNeedFallsForLong) {
  HoldingMuch bench;
  std::size_t writes = 0;
  for (int i = 0; i < 12; ++i) {
    bench.foretold = flat(1200 - 70 * (i + 1));
    writes += caps_of(bench.tick()).size();
  }
  EXPECT_GE(writes, 1U);
}

TEST(Controller, WritesNothingInSteadyState) {
  Bench bench(enforcing());
  bench.add(1, "a", 1, MilliCpus{100});  // a spinner capped by its owner
  bench.demand(1, 1000);
  bench.run(seconds{1});
  EXPECT_TRUE(bench.run(seconds{60}).empty());
  EXPECT_EQ(bench.cap(1), 100);
}

TEST(Controller, LowersNoMoreOftenThanItsWritesAllow) {
  Bench bench(enforcing());
  bench.add(1, "a", 1);
  bench.run(seconds{8});
  const auto before = bench.controller().find(VmId{1})->stats.writes;
  for (int i = 0; i < 120; ++i) {  // a minute of bursts, two a second
    bench.demand(1, 1000);
    bench.run(milliseconds{100});
    bench.demand(1, 0);
    bench.run(milliseconds{400});
  }
  EXPECT_LE(bench.controller().find(VmId{1})->stats.writes - before, 130U);
}

// What scripts/demo shows on a real guest.
TEST(Controller, IsAheadOfAPeriodicBurstWithTwoWritesAPeriod) {
  Bench bench(enforcing(),
              [](std::uint32_t steps) { return make_forecaster(steps); });
  bench.add(1, "a", 1);
  int ready = 0;
  std::uint64_t writes = 0;
  for (int period = 0; period < 40; ++period) {
    if (period == 20) writes = bench.state(1).stats.writes;
    if (period >= 20) ready += bench.cap(1) >= 1000;
    bench.demand(1, 1000);
    bench.run(milliseconds{160});
    bench.demand(1, 5);
    bench.run(milliseconds{1000});
    if (period >= 20) {
      EXPECT_LT(bench.cap(1), 500);
    }
    bench.run(milliseconds{940});
  }
  EXPECT_GE(ready, 18);
  EXPECT_LE(bench.state(1).stats.writes - writes, 60U);
}

// Demand that jumps about where there is not enough for all: without restraint
// each jump of the one moves both.
TEST(Controller, SparesItsWritesInAShortage) {
  Bench bench(enforcing(),
              [](std::uint32_t steps) { return make_forecaster(steps); });
  bench.add(1, "a", 2);
  bench.add(2, "b", 4);
  bench.demand(2, 3600);
  std::uint64_t random = 1;
  const auto jump_about = [&](int times) {
    for (int i = 0; i < times; ++i) {
      random = random * 6364136223846793005U + 1442695040888963407U;
      bench.demand(1, static_cast<std::int32_t>((random >> 33) % 1500));
      bench.run(milliseconds{60});
    }
  };
  jump_about(500);
  const auto writes = [&] {
    return bench.state(1).stats.writes + bench.state(2).stats.writes;
  };
  const auto before = writes();
  jump_about(1000);  // a minute
  EXPECT_LE(writes() - before, 2 * 150U);
}

TEST(Controller, LeavesAnEdgeThatItsVcpusCannotUse) {
  Bench bench(enforcing());
  bench.add(1, "a", 1);
  bench.foretold = flat(1000);
  bench.run(seconds{8});
  ASSERT_GE(bench.cap(1), 1000);
  EXPECT_TRUE(bench.edge(1).empty());
}

TEST(Controller, HandsOverOnAnEdgeWithOneWrite) {
  Bench bench(enforcing());
  bench.add(1, "a", 1);
  bench.add(2, "b", 1);
  bench.run(seconds{8});
  ASSERT_LT(bench.cap(1), 400);
  const auto plan = bench.edge(1);
  ASSERT_EQ(plan.size(), 1U);
  EXPECT_EQ(plan[0].vm, VmId{1});
  EXPECT_EQ(plan[0].reason, Reason::kEdge);
  EXPECT_GT(plan[0].value, 1000);  // the emulator's share as well
  EXPECT_EQ(bench.controller().find(VmId{1})->stats.hand_overs, 1U);
}

// Each comes from where the cap was lowered to, and needs a little more for a
// while.
TEST(Controller, HandsOverWhatEdgesCameToBefore) {
  Policy policy = enforcing();
  policy.cpu.writes_per_minute = 6000;
  Bench bench(policy);
  bench.add(1, "a", 1);
  bench.run(seconds{8});
  std::int64_t first = 0;
  std::int64_t last = 0;
  for (int i = 0; i < 12; ++i) {
    ASSERT_LT(bench.cap(1), 200);
    const auto plan = bench.edge(1);
    ASSERT_EQ(plan.size(), 1U);
    (i == 0 ? first : last) = plan[0].value;
    bench.demand(1, 250);
    bench.run(milliseconds{200});
    bench.demand(1, 0);
    bench.run(seconds{2});
  }
  EXPECT_GT(first, 1000);
  EXPECT_GE(last, 250);
  EXPECT_LE(last, 300);
  // It was not enough: the next edge brings all.
  (void)bench.edge(1);
  bench.demand(1, 1000);
  bench.run(kTick);
  const auto second = bench.edge(1);
  ASSERT_EQ(second.size(), 1U);
  EXPECT_GT(second[0].value, 1000);
}

TEST(Controller, LeavesRoomAboveACapOnlyWhereWritesAreShort) {
  const auto lowest_cap = [](std::int64_t writes_per_minute) {
    Policy policy = enforcing();
    policy.cpu.writes_per_minute = writes_per_minute;
    Bench bench(policy);
    bench.add(1, "a", 2);
    bench.foretold = flat(200);
    bench.run(seconds{8});
    std::int64_t lowest = INT64_MAX;
    for (int i = 0; i < 40; ++i) {
      bench.demand(1, 1500);
      bench.run(milliseconds{200});
      bench.demand(1, 0);
      bench.run(seconds{2});
      if (i >= 20) lowest = std::min(lowest, bench.cap(1));
    }
    return lowest;
  };
  EXPECT_EQ(lowest_cap(6000), 200);
  EXPECT_EQ(lowest_cap(60), 250);  // and a dead-band
}

TEST(Controller, HandsOverNoMoreThanThereIs) {
  Policy policy = enforcing();
  policy.cpu.host_share = MilliCpus{0};
  Bench bench(policy, 1);
  bench.add(1, "a", 1);
  bench.add(2, "b", 1);
  bench.demand(2, 800);
  bench.run(seconds{8});
  bench.edge(1);
  // What the other only still holds may be handed over at once; it is taken
  // back from there within a period.
  EXPECT_LE(bench.cap(1), 200);
  bench.run(milliseconds{140});
  EXPECT_LE(bench.cap(1) + bench.cap(2), 1000 + 88);  // the dead-band
}

TEST(Controller, CoversTheEmulatorsTime) {
  Bench bench(enforcing());
  bench.add(1, "a", 2);
  bench.demand(1, 300);
  bench.emulator(1, 400);
  bench.run(seconds{8});
  EXPECT_GE(bench.cap(1), 700);
}

TEST(Controller, HoldsWhatIsMissing) {
  Bench bench(enforcing());
  bench.add(1, "a", 2);
  bench.demand(1, 1500);
  bench.run(seconds{8});
  const std::int64_t cap = bench.cap(1);
  bench.miss(1, true);
  EXPECT_TRUE(bench.run(seconds{5}).empty());
  EXPECT_EQ(bench.cap(1), cap);
}

TEST(Controller, LendsReserveAndTakesItBack) {
  Policy policy = enforcing();
  policy.cpu.host_share = MilliCpus{0};
  policy.shadow.base = MilliCpus{500};
  policy.vms = {{.match = "web", .vm_class = VmClass::kCritical},
                {.match = "hog", .vm_class = VmClass::kBatch}};
  Bench bench(policy, 1);
  bench.add(1, "web", 1);
  bench.add(2, "hog", 1);
  bench.demand(2, 1000);
  bench.run(seconds{10});
  const VmState* web = bench.controller().find(VmId{1});
  const VmState* hog = bench.controller().find(VmId{2});
  EXPECT_EQ(web->reserve, MilliCpus{500});
  EXPECT_GT(web->lent, MilliCpus{0});
  EXPECT_GT(hog->loan, MilliCpus{0});
  bench.edge(1);
  EXPECT_GT(bench.cap(1), 500);
  bench.demand(1, 900);
  bench.run(milliseconds{240});  // two ticks to be sure, a period, a tick
  EXPECT_LE(bench.cap(1) + bench.cap(2), 1000 + 100);  // within the dead-band
}

TEST(Controller, AnswersAForeignWriterOnceThenLeavesTheKnob) {
  Bench bench(enforcing());
  bench.add(1, "a", 1);
  bench.demand(1, 500);
  bench.run(seconds{8});
  int reasserted = 0;
  for (int i = 0; i < 60; ++i) {
    bench.controller().foreign_write(VmId{1}, bench.now(), MilliCpus{250});
    for (const Action& action : bench.run(seconds{1})) {
      reasserted += action.reason == Reason::kReassert ? 1 : 0;
      EXPECT_EQ(action.reason, Reason::kReassert);
    }
  }
  EXPECT_EQ(reasserted, 1);
  EXPECT_TRUE(bench.controller().find(VmId{1})->contended);
  bench.controller().release_contention(VmId{1});
  EXPECT_FALSE(bench.run(seconds{1}).empty());
}

TEST(Controller, SetsNothingElseSoonAfterItsAnswer) {
  Bench bench(enforcing());
  bench.add(1, "a", 1);
  bench.demand(1, 200);
  bench.run(seconds{8});
  bench.controller().foreign_write(VmId{1}, bench.now(), MilliCpus{250});
  const auto answer = bench.run(milliseconds{1100});
  ASSERT_EQ(answer.size(), 1U);
  EXPECT_EQ(answer[0].reason, Reason::kReassert);
  bench.demand(1, 900);
  EXPECT_TRUE(bench.run(seconds{1}).empty());
  EXPECT_FALSE(bench.run(seconds{1}).empty());
}

TEST(Controller, RetriesWhatWasRefusedWithBackOff) {
  Bench bench(enforcing());
  bench.answer = Outcome::Kind::kUnconfirmed;
  bench.add(1, "a", 1);
  const std::size_t tries = bench.run(seconds{10}).size();
  EXPECT_GE(tries, 10U);
  EXPECT_LE(tries, 20U);  // 20 ms, doubled to a second
}

// Found by the simulator: what its vCPUs' caps took was taken for the VM's.
TEST(Controller, BacksOffThoughAnotherKnobIsTaken) {
  Policy policy = enforcing();
  policy.cpu.split = Split::kEqual;
  Bench bench(policy);
  bench.add(1, "a", 2);
  bench.run(seconds{8});
  bench.foretold = flat(1000);
  bench.refused = Knob::kCpuMax;
  EXPECT_LE(caps_of(bench.run(seconds{5})).size(), 12U);
}

TEST(Controller, LeavesAVmThatWasLetGo) {
  Bench bench(enforcing());
  bench.add(1, "a", 1);
  bench.run(seconds{8});
  bench.controller().let_go(VmId{1});
  bench.demand(1, 900);
  EXPECT_TRUE(bench.run(seconds{2}).empty());
  EXPECT_TRUE(bench.edge(1).empty());
  bench.controller().take_up(VmId{1});
  EXPECT_FALSE(bench.run(seconds{1}).empty());
}

TEST(Controller, BeginsAnewAfterAdvice) {
  // Its baseline is put back when enforcing ends, and advice is answered as if
  // it had been carried out: nothing of what was set is there.
  Policy policy = enforcing();
  policy.cpu.weights = true;
  Bench bench(policy);
  bench.add(1, "a", 1, MilliCpus{700});
  const auto set_host = [&bench](Mode mode) {
    bench.controller().set_host_mode(mode);
  };
  const auto set_one = [&bench](Mode mode) {
    bench.controller().set_mode(VmId{1}, mode);
  };
  const auto check = [&bench](auto set_mode) {
    bench.run(seconds{8});
    ASSERT_LT(bench.cap(1), 700);
    set_mode(Mode::kAdvise);
    EXPECT_EQ(bench.cap(1), 700);
    EXPECT_FALSE(bench.state(1).in_charge);
    bench.run(seconds{2});
    set_mode(Mode::kEnforce);
    const auto written = bench.run(milliseconds{100});
    EXPECT_EQ(caps_of(written).size(), 1U);
    EXPECT_EQ(written.size(), 3U);  // burst and weight as well
  };
  check(set_host);
  check(set_one);
}

TEST(Controller, RefusesFloorsThatCannotBeMet) {
  Policy policy = enforcing();
  policy.vms = {{.match = "big*",
                 .vm_class = VmClass::kCritical,
                 .floor = MilliCpus{3000}}};
  const std::vector<VmFacts> vms = {
      {.id = VmId{1}, .name = "big-1", .vcpus = 4},
      {.id = VmId{2}, .name = "big-2", .vcpus = 4}};
  const auto checked = Controller::check(policy, {.cpus = 4}, vms);
  ASSERT_FALSE(checked);
  EXPECT_NE(checked.error().what.find("big-1"), std::string::npos);
  EXPECT_NE(checked.error().what.find("big-2"), std::string::npos);
  Bench bench(policy);
  bench.add(1, "big-1", 4);
  bench.add(2, "big-2", 4);
  EXPECT_EQ(bench.controller().find(VmId{2})->policy.mode, Mode::kObserve);
}

TEST(Controller, SplitsEquallyWhereAsked) {
  Policy policy = enforcing();
  policy.cpu.split = Split::kEqual;
  Bench bench(policy);
  bench.add(1, "a", 2);
  const auto plan = bench.tick();
  ASSERT_EQ(plan.size(), 3U);
  EXPECT_EQ(plan[1].knob, Knob::kVcpuMax);
  EXPECT_EQ(plan[2].index, 1);
  EXPECT_EQ(plan[1].value, (plan[0].value + 1) / 2);
}

TEST(Controller, AllocatesNothingInATick) {
  Bench bench(enforcing());
  for (std::uint32_t id = 1; id <= 50; ++id) bench.add(id, "vm", 1);
  bench.run(seconds{1});
  const std::vector<CpuInput> none;
  Controller& controller = bench.controller();
  const std::size_t before = allocations();
  for (int i = 1; i <= 1000; ++i) {
    (void)controller.tick(
        {.now = bench.now() + i * kTick, .interval = kTick, .vms = none});
    (void)controller.edge({.at = bench.now() + i * kTick, .vm = VmId{7}});
  }
  EXPECT_EQ(allocations() - before, 0U);
}

}  // namespace
}  // namespace outrider
