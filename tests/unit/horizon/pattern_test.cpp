// SPDX-License-Identifier: Apache-2.0
#include "agent/horizon/pattern.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numbers>
#include <random>
#include <vector>

namespace outrider {
namespace {

std::vector<double> noise(std::size_t count, unsigned seed) {
  std::mt19937 random{seed};
  std::normal_distribution<double> normal{0, 1};
  std::vector<double> values;
  for (std::size_t i = 0; i < count; ++i) values.push_back(normal(random));
  return values;
}

TEST(FindSeason, FindsThePeriodNotAMultiple) {
  std::vector<double> values = noise(2000, 1);
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] += i % 97 < 20 ? 5 : 0;
  }
  EXPECT_EQ(find_season(values), 97U);
}

TEST(FindSeason, FindsNoneInNoiseOrARandomWalk) {
  int found = 0;
  for (unsigned seed = 0; seed < 100; ++seed) {
    std::vector<double> values = noise(1000, seed);
    found += find_season(values) > 0 ? 1 : 0;
    for (std::size_t i = 1; i < values.size(); ++i) values[i] += values[i - 1];
    found += find_season(values) > 0 ? 1 : 0;
  }
  EXPECT_LE(found, 4);  // of 200
}

TEST(FindSeason, TakesConstantsAndShortOnes) {
  EXPECT_EQ(find_season(std::vector<double>(500, 7.3)), 0U);
  EXPECT_EQ(find_season(std::vector<double>(3, 1)), 0U);
  EXPECT_EQ(find_season({}), 0U);
}

TEST(FindTrend, TellsASlopeFromNoise) {
  std::vector<double> values = noise(2000, 2);
  EXPECT_FALSE(find_trend(values).is_one);
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] += 0.002 * static_cast<double>(i);
  }
  const Trend trend = find_trend(values);
  EXPECT_TRUE(trend.is_one);
  EXPECT_NEAR(trend.slope, 0.002, 0.0004);
}

TEST(FindTrend, IsNotMisledByAnOutlier) {
  std::vector<double> values = noise(300, 3);
  values.back() = 1e6;
  EXPECT_FALSE(find_trend(values).is_one);
}

TEST(AnomalyDetector, NamesAnOddValueAndNoOther) {
  AnomalyDetector detector;
  int odd = 0;
  for (const double error : noise(5000, 4)) {
    odd += detector.observe(error).is_odd ? 1 : 0;
  }
  EXPECT_LE(odd, 3);
  EXPECT_TRUE(detector.observe(12).is_odd);
  EXPECT_EQ(detector.observe(0).shift, 0);  // one value is no shift
}

TEST(AnomalyDetector, FindsAShiftWithinTwentySteps) {
  AnomalyDetector detector;
  int false_alarms = 0;
  for (const double error : noise(2000, 5)) {
    false_alarms += detector.observe(error).shift != 0 ? 1 : 0;
  }
  EXPECT_LE(false_alarms, 2);
  int after = 0;
  for (const double error : noise(20, 6)) {
    ++after;
    if (detector.observe(error - 2).shift == -1) break;
  }
  EXPECT_LT(after, 20);
}

TEST(AnomalyDetector, LearnsNothingFromWhatIsNotFinite) {
  AnomalyDetector detector;
  for (const double error : noise(100, 7)) (void)detector.observe(error);
  const double infinity = std::numeric_limits<double>::infinity();
  EXPECT_FALSE(detector.observe(infinity).is_odd);
  EXPECT_FALSE(detector.observe(std::nan("")).is_odd);
  EXPECT_TRUE(std::isfinite(detector.observe(1).z));
}

}  // namespace
}  // namespace outrider
