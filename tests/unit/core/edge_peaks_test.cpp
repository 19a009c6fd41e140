// SPDX-License-Identifier: Apache-2.0
#include "agent/core/edge_peaks.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>

namespace outrider {
namespace {

using std::chrono::milliseconds;

constexpr Duration kTick = milliseconds{20};
constexpr Duration kSpan = milliseconds{120};

void edge_that_comes_to(EdgePeaks& peaks, std::int64_t mcpu) {
  peaks.open(kSpan);
  peaks.add(MilliCpus{mcpu}, kTick);
  while (peaks.is_open()) peaks.add(MilliCpus{10}, kTick);
}

TEST(EdgePeaks, KnowNothingOfAFewEdges) {
  EdgePeaks peaks;
  for (std::size_t i = 0; i + 1 < EdgePeaks::kEnough; ++i) {
    edge_that_comes_to(peaks, 300);
  }
  EXPECT_FALSE(peaks.knows());
  edge_that_comes_to(peaks, 300);
  EXPECT_TRUE(peaks.knows());
  EXPECT_EQ(peaks.likely(), MilliCpus{300});
}

TEST(EdgePeaks, TakeThePeakOfTheSpanAndOfNothingElse) {
  EdgePeaks peaks;
  for (std::size_t i = 0; i < EdgePeaks::kEnough; ++i) {
    peaks.add(MilliCpus{900}, kTick);  // before it
    peaks.open(kSpan);
    for (Duration at{}; at < kSpan; at += kTick) {
      EXPECT_TRUE(peaks.is_open());
      peaks.add(MilliCpus{at == milliseconds{60} ? 400 : 100}, kTick);
    }
    EXPECT_FALSE(peaks.is_open());
    peaks.add(MilliCpus{900}, kTick);  // after it
  }
  EXPECT_EQ(peaks.likely(), MilliCpus{400});
}

TEST(EdgePeaks, OneInTenMayComeToMore) {
  EdgePeaks peaks;
  for (std::size_t i = 0; i < EdgePeaks::kHeld; ++i) {
    edge_that_comes_to(peaks, i == 3 ? 1000 : 200);
  }
  EXPECT_EQ(peaks.likely(), MilliCpus{200});
  edge_that_comes_to(peaks, 900);
  EXPECT_EQ(peaks.likely(), MilliCpus{900});
}

TEST(EdgePeaks, ForgetWhatWasLongAgo) {
  EdgePeaks peaks;
  for (std::size_t i = 0; i < EdgePeaks::kHeld; ++i) {
    edge_that_comes_to(peaks, 1000);
  }
  for (std::size_t i = 0; i < EdgePeaks::kHeld; ++i) {
    edge_that_comes_to(peaks, 250);
  }
  EXPECT_EQ(peaks.likely(), MilliCpus{250});
}

}  // namespace
}  // namespace outrider
