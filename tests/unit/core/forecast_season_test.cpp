// SPDX-License-Identifier: Apache-2.0
// Bursts that repeat are foreseen; a season is not seen where there is none.
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <vector>

#include "tests/unit/core/forecast_series.h"

namespace outrider {
namespace {

constexpr std::uint32_t kHorizon = 6;
constexpr std::size_t kLead = 3;  // steps before the onset

struct Foresight {
  std::size_t onsets = 0;
  std::size_t foreseen = 0;  // the p950 had risen to the burst by then
  std::size_t quiet = 0;     // steps far from any edge, in a trough
  std::size_t wasted = 0;    // of these: the p950 at half the burst or more
};

class Watch {
 public:
  Watch(const Bursts& shape, const Values& values)
      : shape_(shape), values_(values), told_(forecasts(values, kHorizon)) {
    for (std::size_t t = 1; t < values.size(); ++t) {
      if (high(t) != high(t - 1)) edges_.push_back(t);
    }
  }

  Foresight from(std::size_t first) const {
    Foresight out;
    for (const std::size_t edge : edges_) {
      if (edge < first || !high(edge)) continue;
      ++out.onsets;
      if (risen_before(edge)) ++out.foreseen;
    }
    for (std::size_t t = first; t + 50 < values_.size(); ++t) {
      if (high(t) || near_edge(t)) continue;
      ++out.quiet;
      if (peak(told_[t], kP950) >= shape_.height / 2) ++out.wasted;
    }
    return out;
  }

  const std::vector<Forecast>& told() const { return told_; }

 private:
  bool high(std::size_t t) const { return values_[t] > shape_.height / 2; }

  bool risen_before(std::size_t onset) const {
    for (std::size_t lead = 1; lead <= kLead; ++lead) {
      if (peak(told_[onset - lead], kP950) < 0.9 * shape_.height) return false;
    }
    return true;
  }

  bool near_edge(std::size_t t) const {
    for (const std::size_t edge : edges_) {
      const std::size_t apart = edge > t ? edge - t : t - edge;
      if (apart <= kHorizon + 2) return true;
    }
    return false;
  }

  const Bursts& shape_;
  const Values& values_;
  std::vector<Forecast> told_;
  std::vector<std::size_t> edges_;
};

class PeriodicBursts : public testing::TestWithParam<Bursts> {};
INSTANTIATE_TEST_SUITE_P(
    Shapes, PeriodicBursts,
    testing::Values(Bursts{.period = 100, .noise = 0}, Bursts{.period = 97.3},
                    Bursts{.period = 60.4},
                    Bursts{.period = 33.3, .share = 0.2},
                    Bursts{.period = 150.7, .noise = 0.15},
                    Bursts{.period = 97.3, .share = 0.1},
                    Bursts{.period = 120.5, .share = 0.5, .trough = 300}),
    [](const auto& instance) {
      const Bursts& shape = instance.param;
      return "Every" + std::to_string(static_cast<int>(shape.period * 10)) +
             "Share" + std::to_string(static_cast<int>(shape.share * 100));
    });

TEST_P(PeriodicBursts, AreForeseenAndTheTroughIsLeftAlone) {
  const Bursts shape = GetParam();
  const auto steps = static_cast<std::size_t>(60 * shape.period);
  const Values values = bursts(shape, steps, 1);
  const Watch watch(shape, values);
  const std::uint16_t season = watch.told().back().season_steps;
  EXPECT_NEAR(season, shape.period, 1);

  const Foresight late =
      watch.from(static_cast<std::size_t>(20 * shape.period));
  ASSERT_GE(late.onsets, 38U);
  EXPECT_GE(10 * late.foreseen, 9 * late.onsets);
  ASSERT_GT(late.quiet, 100U);
  EXPECT_EQ(late.wasted, 0U);

  const Foresight early =
      watch.from(static_cast<std::size_t>(6 * shape.period));
  std::printf("%zu of %zu onsets foreseen from the 6th period on\n",
              early.foreseen, early.onsets);
  EXPECT_GE(10 * early.foreseen, 9 * early.onsets);
}

/// What a burst that never sleeps looks like: at least what it ran, a little
/// less than what it may have wanted.
Observation open_busy_period(double value) {
  return {.value = MilliCpus{static_cast<std::int64_t>(value)},
          .least = MilliCpus{static_cast<std::int64_t>(0.93 * value)}};
}

TEST(Season, OfBurstsThatAreUpperBoundsIsForeseenByEveryQuantile) {
  const Bursts shape{.period = 105, .share = 0.15, .height = 1000};
  const Values values = bursts(shape, 30 * 105, 3);
  const std::unique_ptr<Forecaster> forecaster = make_forecaster(kHorizon);
  SeasonSearch search;
  std::size_t onsets = 0;
  std::array<std::size_t, kTaus> foreseen{};
  for (std::size_t t = 0; t + kLead < values.size(); ++t) {
    const bool is_burst = values[t] > shape.height / 2;
    forecaster->observe(is_burst ? open_busy_period(values[t])
                                 : exact(values[t]));
    for (int i = 0; i < 2; ++i) forecaster->ponder(search, {});
    const bool comes = !is_burst && values[t + kLead] > shape.height / 2 &&
                       values[t + kLead - 1] < shape.height / 2;
    if (!comes || t < 10 * 105) continue;
    ++onsets;
    for (std::size_t tau = 0; tau < kTaus; ++tau) {
      foreseen[tau] += peak(forecaster->forecast(), tau) >= 0.85 * shape.height;
    }
  }
  ASSERT_GE(onsets, 15U);
  for (std::size_t tau = 0; tau < kTaus; ++tau) {
    EXPECT_GE(10 * foreseen[tau], 9 * onsets) << kTausPermille[tau];
  }
}

// Bursts at even times that take ever more and less time, as under a shortage.
Values uneven_bursts(std::size_t steps, std::uint64_t seed) {
  constexpr std::size_t kPeriod = 105;
  Noise noise(seed);
  Values values(steps, 20);
  for (std::size_t onset = 50; onset < steps; onset += kPeriod) {
    const auto length = static_cast<std::size_t>(12 + 55 * noise.uniform());
    for (std::size_t t = onset; t < std::min(onset + length, steps); ++t) {
      values[t] = 1000;
    }
  }
  return values;
}

/// Share of the steps, from a third on, at which a season near 105 was believed
/// in.
double believed(const Values& values, LikelyPeriod likely) {
  const std::unique_ptr<Forecaster> forecaster = make_forecaster(kHorizon);
  SeasonSearch search;
  std::size_t told = 0;
  for (std::size_t t = 0; t < values.size(); ++t) {
    forecaster->observe(exact(values[t]));
    forecaster->ponder(search, likely);
    const int season = forecaster->forecast().season_steps;
    told += t >= values.size() / 3 && std::abs(season - 105) <= 2 ? 1 : 0;
  }
  return static_cast<double>(told) /
         static_cast<double>(values.size() - values.size() / 3);
}

TEST(Season, IsKeptOnLessEvidenceWhereALongerMemoryHasIt) {
  double alone = 0;
  double helped = 0;
  constexpr int kSeeds = 20;
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    const Values values = uneven_bursts(30 * 105, seed);
    alone += believed(values, {}) / kSeeds;
    helped += believed(values, {.first = 102, .last = 108}) / kSeeds;
  }
  std::printf("believed in at %.2f of the steps alone, %.2f with help\n", alone,
              helped);
  EXPECT_GT(helped, 0.9);
  EXPECT_LT(alone, 0.8);  // else this shows nothing
}

TEST(Season, IsNotBelievedInForBeingLikely) {
  int seen = 0;
  constexpr int kSeeds = 100;
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    const Values calm = noise_around(300, 40, 1200, seed);
    seen += believed(calm, {.first = 102, .last = 108}) > 0 ? 1 : 0;
  }
  EXPECT_LE(seen, 2);
}

TEST(Season, IsForgottenWhenItStops) {
  Values values = bursts({}, 4000, 1);
  const Values calm = noise_around(200, 20, 2000, 2);
  values.insert(values.end(), calm.begin(), calm.end());
  const std::vector<Forecast> told = forecasts(values, kHorizon);
  EXPECT_GT(told[3999].season_steps, 0);
  EXPECT_EQ(told.back().season_steps, 0);
  EXPECT_LT(peak(told.back(), kP950), 400);
}

TEST(Season, IsNotSeenInWhiteNoise) {
  // One search takes 43 steps at most; 1,200 steps are over 20.
  int seen = 0;
  constexpr int kSeeds = 500;
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    const Values values = noise_around(1000, 200, 1200, seed);
    bool believed = false;
    for (const Forecast& forecast : forecasts(values, kHorizon)) {
      believed |= forecast.season_steps > 0;
    }
    seen += believed ? 1 : 0;
  }
  EXPECT_LE(seen, kSeeds / 100);
}

TEST(Season, IsNotSeenInAWalk) {
  // Smooth, and like itself for long: what chance gives is more here.
  double seen = 0;
  double steps = 0;
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    Noise noise(seed);
    Values values(3000);
    double level = 0;
    for (double& value : values) {
      level = 0.97 * level + 60 * noise.normal();
      value = std::max(0.0, 2000 + level);
    }
    for (const Forecast& forecast : forecasts(values, kHorizon)) {
      seen += forecast.season_steps > 0 ? 1 : 0;
      ++steps;
    }
  }
  EXPECT_LE(seen / steps, 0.01);
}

TEST(Season, IsNotSeenInASteadyDemand) {
  for (const Forecast& forecast : forecasts(Values(2000, 1000.0), kHorizon)) {
    ASSERT_EQ(forecast.season_steps, 0);
  }
}

}  // namespace
}  // namespace outrider
