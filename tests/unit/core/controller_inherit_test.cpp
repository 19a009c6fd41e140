// SPDX-License-Identifier: Apache-2.0
// A restart: a new Controller goes on from what the one before had learned.
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "agent/core/peak_forecaster.h"
#include "tests/unit/core/controller_bench.h"
#include "tests/unit/core/forecast_series.h"

namespace outrider {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr Duration kLearning = seconds{60};

/// A VM that demands 800 mcpu, more or less.
class Vm {
 public:
  explicit Vm(Bench& bench, std::string uuid = "uuid-1") : bench_(bench) {
    bench_.add(1, "web", 2, kNoCap, std::move(uuid));
  }
  void run(Duration span) {
    for (Duration at{}; at < span; at += kTick) {
      bench_.demand(1, static_cast<std::int32_t>(800 + 60 * noise_.normal()));
      bench_.tick();
    }
  }

 private:
  Bench& bench_;
  Noise noise_{7};
};

/// One that has had that VM for a minute.
struct LearnedBench : Bench {
  LearnedBench() : Bench(enforcing(), make_forecaster) {
    Vm(*this).run(kLearning);
  }
};

double cap_of(Bench& bench) {
  return static_cast<double>(bench.state(1).target.count());
}

TEST(ControllerInherit, DecidesWithinATenthOfTheDecisionBefore) {
  for (const char* uuid : {"uuid-1", ""}) {
    Bench before(enforcing(), make_forecaster);
    Vm vm(before, uuid);
    vm.run(kLearning);
    Bench after(enforcing(), make_forecaster);
    after.controller().inherit(before.controller(), milliseconds{300});
    Vm again(after, uuid);
    EXPECT_GT(after.state(1).soon.scored, 1000U);
    again.run(kTick * 10);
    EXPECT_NEAR(cap_of(after), cap_of(before), 0.1 * cap_of(before));
  }
}

TEST(ControllerInherit, WithoutItAVmBeginsGenerously) {
  LearnedBench before;
  Bench after(enforcing(), make_forecaster);
  Vm again(after);
  again.run(kTick * 10);
  EXPECT_GT(cap_of(after), 1.1 * cap_of(before));
}

TEST(ControllerInherit, WhatIsTooOldIsDropped) {
  LearnedBench before;
  Bench after(enforcing(), make_forecaster);
  after.controller().inherit(before.controller(), seconds{20});
  Vm again(after);
  EXPECT_EQ(after.state(1).soon.scored, 0U);   // 1,000 steps of 20 ms
  EXPECT_GT(after.state(1).ahead.scored, 0U);  // 200 of 100 ms
}

TEST(ControllerInherit, AnotherClockIsAnotherSeries) {
  LearnedBench before;
  Policy policy = enforcing();
  policy.shadow.prediction_horizon *= 2;
  Bench after(policy, make_forecaster);
  after.controller().inherit(before.controller(), milliseconds{300});
  Vm again(after);
  EXPECT_GT(after.state(1).soon.scored, 0U);
  EXPECT_EQ(after.state(1).ahead.scored, 0U);
}

TEST(ControllerInherit, AVmThatComesLateHasMissedMore) {
  LearnedBench before;
  Bench after(enforcing(), make_forecaster);
  after.controller().inherit(before.controller(), milliseconds{300});
  after.run(minutes{5});
  Vm again(after);
  EXPECT_EQ(after.state(1).soon.scored, 0U);
  EXPECT_EQ(after.state(1).reserve_ahead.scored, 0U);
}

// One that went on waiting through another restart.
TEST(ControllerInherit, WhatWaitsGrowsOlder) {
  LearnedBench first;
  Bench second(enforcing(), make_forecaster);
  second.controller().inherit(first.controller(), milliseconds{300});
  second.run(minutes{5});
  Bench third(enforcing(), make_forecaster);
  third.controller().inherit(second.controller(), milliseconds{300});
  Vm again(third);
  EXPECT_EQ(third.state(1).soon.scored, 0U);
  EXPECT_EQ(third.state(1).reserve_ahead.scored, 0U);
}

TEST(ControllerInherit, WhatWaitsMayHaveAnotherClock) {
  LearnedBench first;
  Bench second(enforcing(), make_forecaster);
  second.controller().inherit(first.controller(), milliseconds{300});
  Policy policy = enforcing();
  policy.shadow.prediction_horizon *= 2;
  Bench third(policy, make_forecaster);
  third.controller().inherit(second.controller(), milliseconds{300});
  Vm again(third);
  EXPECT_GT(third.state(1).soon.scored, 0U);
  EXPECT_EQ(third.state(1).ahead.scored, 0U);
}

// The series that the cap is driven by was dropped: it learns before it cuts.
TEST(ControllerInherit, PartOfItIsNotEnoughToCutBy) {
  LearnedBench before;
  Bench after(enforcing(), make_forecaster);
  after.controller().inherit(before.controller(), seconds{20});
  Vm again(after);
  again.run(kTick * 10);
  EXPECT_GT(cap_of(after), 1.1 * cap_of(before));
}

// Whoever may ask could fill the memory else, and the state could not be read.
TEST(ControllerLearned, OfManyTheOldestAreForgotten) {
  Bench here(enforcing(), make_forecaster);
  Vm vm(here);
  std::vector<std::byte> learned;
  ASSERT_TRUE(here.controller().give_learned(VmId{1}, learned));
  for (int i = 0; i < 1100; ++i) {
    const std::string uuid = "other-" + std::to_string(i);
    ASSERT_TRUE(here.controller().take_learned(uuid, learned));
  }
  EXPECT_FALSE(here.controller().take_learned("", learned));
  EXPECT_FALSE(here.controller().take_learned(std::string(65, 'a'), learned));
  std::vector<std::byte> state;
  here.controller().save(state);
  EXPECT_LT(state.size(), 1025 * learned.size());
  Bench there(enforcing(), make_forecaster);
  EXPECT_TRUE(there.controller().load(state));
}

TEST(ControllerLearned, GoesWithAVmToAnotherHost) {
  LearnedBench here;
  std::vector<std::byte> learned;
  EXPECT_FALSE(here.controller().give_learned(VmId{9}, learned));
  ASSERT_TRUE(here.controller().give_learned(VmId{1}, learned));
  for (const bool comes_first : {false, true}) {
    Bench there(enforcing(), make_forecaster);
    if (comes_first) Vm{there};
    ASSERT_TRUE(there.controller().take_learned("uuid-1", learned));
    if (!comes_first) Vm{there};
    EXPECT_EQ(there.state(1).soon.peak, here.state(1).soon.peak);
    EXPECT_EQ(there.state(1).soon.scored, here.state(1).soon.scored);
  }
}

TEST(ControllerLearned, WhatIsNoneSuchIsRefusedAndNothingChanges) {
  LearnedBench here;
  std::vector<std::byte> learned;
  ASSERT_TRUE(here.controller().give_learned(VmId{1}, learned));
  Policy policy = enforcing();
  policy.shadow.prediction_horizon *= 2;
  Bench other(policy, make_forecaster);
  const auto clock = other.controller().take_learned("uuid-1", learned);
  ASSERT_FALSE(clock);
  EXPECT_NE(clock.error().what.find("other horizons"), std::string::npos);
  Bench there(enforcing(), make_forecaster);
  learned[learned.size() / 2] ^= std::byte{1};
  const auto damaged = there.controller().take_learned("uuid-1", learned);
  ASSERT_FALSE(damaged);
  EXPECT_NE(damaged.error().what.find("damaged"), std::string::npos);
  learned.resize(10);
  EXPECT_FALSE(there.controller().take_learned("uuid-1", learned));
  EXPECT_FALSE(there.controller().take_learned("uuid-1", {}));
  Vm comes(there);
  EXPECT_EQ(there.state(1).soon.scored, 0U);
}

}  // namespace
}  // namespace outrider
