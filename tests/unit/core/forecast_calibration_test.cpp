// SPDX-License-Identifier: Apache-2.0
// Is a quantile missed as often as it says?
#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <memory>

#include "tests/unit/core/forecast_series.h"

namespace outrider {
namespace {

constexpr std::size_t kSteps = 20'000;
constexpr std::size_t kWarm = 1000;

/// The miss rate of every quantile is within `tolerance` of what was asked for,
/// relatively.
void expect_calibrated(const Score& score, double tolerance) {
  for (std::size_t i = 0; i < kTaus; ++i) {
    const double asked = 1 - static_cast<double>(kTausPermille[i]) / 1000;
    EXPECT_NEAR(score.miss_rate(i), asked, tolerance * asked)
        << "p" << kTausPermille[i];
  }
}

TEST(ForecastCalibration, MissesNoiseAsOftenAsAskedFor) {
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    SCOPED_TRACE(seed);
    Score score;
    add_score(noise_around(1000, 100, kSteps, seed), 6, kWarm, score);
    expect_calibrated(score, 0.2);
  }
}

TEST(ForecastCalibration, MissesNoiseAsOftenAtEveryHorizonInUse) {
  for (const std::uint32_t horizon : {1U, 5U, 10U}) {
    SCOPED_TRACE(horizon);
    Score score;
    add_score(noise_around(4000, 900, kSteps, horizon), horizon, kWarm, score);
    expect_calibrated(score, 0.2);
  }
}

TEST(ForecastCalibration, TellsTheCoverageItHas) {
  const Values values = noise_around(1000, 100, kSteps, 1);
  const std::unique_ptr<Forecaster> forecaster = make_forecaster(6);
  for (const double value : values) forecaster->observe(exact(value));
  // The first peak is known after 6 steps more.
  EXPECT_EQ(forecaster->forecast().scored, kSteps - 6);
  const ForecastScore score = forecaster->score();
  for (std::size_t i = 0; i < kTaus; ++i) {
    // Of the last 500 or so.
    const double asked = static_cast<double>(kTausPermille[i]) / 1000;
    EXPECT_NEAR(score.quantiles[i].covered, asked, 0.06);
    EXPECT_GT(score.quantiles[i].spare, 0);
    EXPECT_LT(score.quantiles[i].spare, 0.5);
    EXPECT_LT(score.quantiles[i].loss, 0.05);
  }
  float sum = 0;
  for (const float weight : score.weights) sum += weight;
  EXPECT_NEAR(sum, 1, 1e-3);
  EXPECT_EQ(score.fallbacks, 0U);
  for (std::size_t i = 0; i + 1 < kTaus; ++i) {
    EXPECT_LT(score.quantiles[i].spare, score.quantiles[i + 1].spare);
  }
}

TEST(ForecastCalibration, BurstsWithoutASeasonAreMissedAsOftenAsAskedFor) {
  Score score;
  double believed = 0;
  double steps = 0;
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    // Gaps of 50 to 150 steps.
    const Values values = bursts({.jitter = 0.5}, kSteps, seed);
    add_score(values, 6, kWarm, score);
    for (const Forecast& forecast : forecasts(values, 6)) {
      believed += forecast.season_steps > 0 ? 1 : 0;
      ++steps;
    }
  }
  for (std::size_t i = 0; i <= kP950; ++i) {
    const double asked = 1 - static_cast<double>(kTausPermille[i]) / 1000;
    EXPECT_NEAR(score.miss_rate(i), asked, 0.2 * asked);
  }
  EXPECT_LE(score.miss_rate(kP990), 0.015);
  EXPECT_LE(believed / steps, 0.15);  // a few gaps are alike by chance
}

TEST(ForecastCalibration, RecoversFromAShiftOfTheLevel) {
  for (const double to : {4000.0, 200.0}) {
    SCOPED_TRACE(to);
    Values values = noise_around(1000, 50, 3000, 1);
    const Values later = noise_around(to, 0.05 * to, 1000, 2);
    values.insert(values.end(), later.begin(), later.end());
    const std::vector<Forecast> told = forecasts(values, 6);
    // One horizon to see the shift, a second's worth of steps to trust it.
    for (std::size_t t = 3056; t < told.size(); ++t) {
      ASSERT_GE(peak(told[t], kP950), 0.95 * to) << t - 3000 << " steps after";
      ASSERT_LE(peak(told[t], kP950), 1.6 * to + 100)
          << t - 3000 << " steps after";
    }
  }
}

}  // namespace
}  // namespace outrider
