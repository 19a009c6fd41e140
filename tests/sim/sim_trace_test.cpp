// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/sim_trace.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <numeric>
#include <vector>

namespace outrider::sim {
namespace {

using Kind = SimTraceSpec::Kind;
using Work = std::vector<std::int64_t>;

Work work_of(const SimTraceSpec& spec, std::size_t ms, std::uint64_t seed = 1) {
  SimTrace trace(spec, seed);
  Work work(ms);
  for (std::int64_t& one : work) one = trace.next();
  return work;
}

std::int64_t sum(const Work& work) {
  return std::accumulate(work.begin(), work.end(), std::int64_t{0});
}

TEST(SimTrace, RepeatsABurst) {
  EXPECT_EQ(work_of({.kind = Kind::kPeriodic,
                     .level = 700,
                     .base = 20,
                     .period_ms = 4,
                     .on_ms = 1,
                     .offset_ms = 2},
                    9),
            (Work{20, 20, 700, 20, 20, 20, 700, 20, 20}));
}

TEST(SimTrace, ReplaysARecordingOf10MsSteps) {
  const Work work =
      work_of({.kind = Kind::kReplay, .replay = {500, 0, 30}}, 65);
  EXPECT_EQ(work[0], 500);
  EXPECT_EQ(work[9], 500);
  EXPECT_EQ(work[10], 0);
  EXPECT_EQ(work[29], 30);
  EXPECT_EQ(work[30], 500);  // from the start again
  EXPECT_EQ(work[49], 0);
}

TEST(SimTrace, IsIdleOrAHogAllTheTime) {
  EXPECT_EQ(work_of({.kind = Kind::kIdle, .base = 7}, 3), (Work{7, 7, 7}));
  EXPECT_EQ(work_of({.kind = Kind::kHog, .level = 2000}, 2),
            (Work{2000, 2000}));
}

TEST(SimTrace, KeepsItsDutyWithRandomLengths) {
  // 100 of 500 ms at 1000: a fifth, over about 2,000 bursts.
  constexpr std::size_t kMs = 1'000'000;
  for (const Kind kind : {Kind::kJittered, Kind::kOnOff}) {
    const Work work = work_of({.kind = kind}, kMs);
    EXPECT_NEAR(static_cast<double>(sum(work)), 0.2 * 1000 * kMs,
                0.02 * 1000 * kMs);
    EXPECT_NE(work, work_of({.kind = kind}, kMs, 2));
    EXPECT_EQ(work, work_of({.kind = kind}, kMs));
  }
}

TEST(SimTrace, JittersLengthsByAQuarter) {
  const Work work = work_of({.kind = Kind::kJittered}, 100'000);
  std::vector<std::int64_t> lengths = {0};  // of bursts
  for (std::size_t i = 1; i < work.size(); ++i) {
    if (work[i] > 0) ++lengths.back();
    if (work[i] == 0 && work[i - 1] > 0) lengths.push_back(0);
  }
  lengths.pop_back();    // cut off by the end
  lengths.front() += 1;  // the loop began at 1
  ASSERT_GT(lengths.size(), 100U);
  EXPECT_GE(std::ranges::min(lengths), 75);
  EXPECT_LE(std::ranges::max(lengths), 125);
  EXPECT_LT(std::ranges::min(lengths), 85);
  EXPECT_GT(std::ranges::max(lengths), 115);
}

TEST(SimTrace, WalksWithinItsBounds) {
  const Work work = work_of({.kind = Kind::kRandomWalk, .level = 800}, 100'000);
  EXPECT_GE(std::ranges::min(work), 0);
  EXPECT_LE(std::ranges::max(work), 800);
  EXPECT_LT(std::ranges::min(work), 100);  // it gets about
  EXPECT_GT(std::ranges::max(work), 700);
  for (std::size_t i = 1; i < work.size(); ++i) {
    // At most a tenth and 1, and only every 10 ms.
    ASSERT_LE(std::abs(work[i] - work[i - 1]), i % 10 == 0 ? 81 : 0) << i;
  }
}

TEST(SimTrace, KnowsItsPeak) {
  EXPECT_EQ(SimTrace({.kind = Kind::kIdle, .base = 5}, 1).peak(), 5);
  EXPECT_EQ(SimTrace({.kind = Kind::kReplay, .replay = {3, 90}}, 1).peak(), 90);
  EXPECT_EQ(SimTrace({.kind = Kind::kOnOff, .level = 1500}, 1).peak(), 1500);
}

}  // namespace
}  // namespace outrider::sim
