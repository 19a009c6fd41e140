// SPDX-License-Identifier: Apache-2.0
#include "bench/demo/demand_window.h"

#include <gtest/gtest.h>

#include "bench/demo/guests.h"

namespace outrider::demo {
namespace {

constexpr MilliCpus kCeiling{1300};

DemandWindow window_of(int ticks, std::int64_t demand) {
  DemandWindow window;
  for (int i = 0; i < ticks; ++i) window.add(MilliCpus{demand});
  return window;
}

TEST(DemandWindow, KnowsNothingBeforeAWholePeriod) {
  EXPECT_EQ(window_of(4, 1000).highest_period(), MilliCpus{0});
  EXPECT_EQ(window_of(5, 1000).highest_period(), MilliCpus{1000});
  EXPECT_EQ(DemandWindow{}.percentile_95(), MilliCpus{0});
}

TEST(DemandWindow, AveragesOverThePeriodWhereverItLies) {
  DemandWindow window = window_of(20, 0);
  for (int i = 0; i < 3; ++i) window.add(MilliCpus{1000});
  window.add(MilliCpus{0});
  EXPECT_EQ(window.highest_period(), MilliCpus{600});  // 3 of 5 ticks
}

TEST(DemandWindow, ForgetsAfterASecond) {
  DemandWindow window = window_of(5, 1000);
  for (int i = 0; i < 45; ++i) window.add(MilliCpus{0});
  EXPECT_EQ(window.highest_period(), MilliCpus{1000});  // 50 ticks of 20 ms
  window.add(MilliCpus{0});
  EXPECT_EQ(window.highest_period(), MilliCpus{800});  // one has gone
  for (int i = 0; i < 4; ++i) window.add(MilliCpus{0});
  EXPECT_EQ(window.highest_period(), MilliCpus{0});
}

TEST(DemandWindow, Has95PercentAtOrUnderTheirPercentile) {
  DemandWindow window;
  for (int i = 1; i <= 50; ++i) window.add(MilliCpus{i});
  EXPECT_EQ(window.percentile_95(), MilliCpus{48});  // 47.5 of 50
}

TEST(ReactiveCap, AddsItsMarginAndDoublesWhenThrottled) {
  EXPECT_EQ(reactive_cap(MilliCpus{400}, 0.25, false, kCeiling),
            MilliCpus{500});
  EXPECT_EQ(reactive_cap(MilliCpus{400}, 0.25, true, kCeiling),
            MilliCpus{1000});
}

TEST(ReactiveCap, KeepsWithinFloorAndCeiling) {
  EXPECT_EQ(reactive_cap(MilliCpus{0}, 0.5, true, kCeiling), kFloor);
  EXPECT_EQ(reactive_cap(MilliCpus{1000}, 0.5, true, kCeiling), kCeiling);
}

TEST(StaticCap, LiesBetweenMeanAndPeak) {
  EXPECT_EQ(static_cap(MilliCpus{300}, MilliCpus{1000}, 0.5, kCeiling),
            MilliCpus{650});
}

TEST(LeftOver, IsWhatTheOthersLeaveButAtLeastTheFloor) {
  EXPECT_EQ(left_over(MilliCpus{1900}, {MilliCpus{650}, MilliCpus{300}}),
            MilliCpus{950});
  EXPECT_EQ(left_over(MilliCpus{1900}, {kCeiling, kCeiling}), kFloor);
}

TEST(IsWorthAWrite, NeedsMoreThanFivePercent) {
  EXPECT_FALSE(is_worth_a_write(MilliCpus{1000}, MilliCpus{1050}));
  EXPECT_TRUE(is_worth_a_write(MilliCpus{1000}, MilliCpus{1051}));
  EXPECT_TRUE(is_worth_a_write(MilliCpus{1000}, MilliCpus{949}));
  EXPECT_TRUE(is_worth_a_write(kNoLimit, kCeiling));
}

}  // namespace
}  // namespace outrider::demo
