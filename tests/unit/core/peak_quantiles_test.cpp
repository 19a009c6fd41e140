// SPDX-License-Identifier: Apache-2.0
// What holds of the mix and of each of its experts, whatever the series.
#include "agent/core/peak_quantiles.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "tests/unit/core/forecast_series.h"

namespace outrider {
namespace {

using Told = std::array<float, 4>;

constexpr std::array<double, 4> kShares = {0.5, 0.8, 0.95, 0.99};

const MixPlan& plan(std::uint32_t horizon) {
  static const std::vector<MixPlan> plans = [] {
    std::vector<MixPlan> all;
    for (std::uint32_t steps = 1; steps <= kHorizonMax; ++steps) {
      all.emplace_back(kShares, steps);
    }
    return all;
  }();
  return plans[horizon - 1];
}

Told told_by(const PeakQuantiles& series) {
  Told told{};
  for (int i = 0; i < 4; ++i)
    told[static_cast<std::size_t>(i)] = series.told()[i];
  return told;
}

/// What was told after each value.
std::vector<Told> run(const Values& values, std::uint32_t horizon,
                      double unit = 1) {
  PeakQuantiles series(plan(horizon), horizon);
  SeasonSearch search;
  std::vector<Told> out;
  for (const double value : values) {
    const auto step = static_cast<float>(unit * value);
    if (!series.is_started()) series.start(step, 0.25F * step);
    series.observe({.most = step, .least = step});
    series.ponder(search, {});
    out.push_back(told_by(series));
  }
  return out;
}

struct Kind {
  std::string name;
  std::function<Values()> make;
};

Values spikes() {
  Values values(2000, 0.0);
  for (std::size_t t = 3; t < values.size(); t += 7 * (1 + t % 5)) {
    values[t] = static_cast<double>(1 + t % 3) * 5000;
  }
  return values;
}

Values extremes() {
  Values values;
  for (int i = 0; i < 2000; ++i) {
    values.push_back(std::array{0.0, 1e15, 1e-30, 1.0, 1e9}[(i * i) % 5U]);
  }
  return values;
}

Values collapse() {
  Values values = noise_around(1e6, 1e5, 1000, 3);
  values.resize(3000, 0.0);
  values.resize(4000, 3.0);
  return values;
}

class AnySeries : public testing::TestWithParam<Kind> {};
INSTANTIATE_TEST_SUITE_P(
    Kinds, AnySeries,
    testing::Values(
        Kind{"Noise", [] { return noise_around(900, 200, 2500, 1); }},
        Kind{"Bursts", [] { return bursts({}, 3000, 2); }},
        Kind{"Jitter", [] { return bursts({.jitter = 0.5}, 3000, 3); }},
        Kind{"Spikes", spikes}, Kind{"Extremes", extremes},
        Kind{"Collapse", collapse},
        Kind{"Nothing", [] { return Values(500, 0.0); }},
        Kind{"OneSample", [] { return Values{42.0}; }}),
    [](const auto& instance) { return instance.param.name; });

TEST_P(AnySeries, GivesFiniteQuantilesThatRise) {
  const Values values = GetParam().make();
  const double most = *std::ranges::max_element(values);
  for (const std::uint32_t horizon : {1U, 6U, 12U}) {
    for (const Told& told : run(values, horizon)) {
      ASSERT_TRUE(std::ranges::is_sorted(told));
      ASSERT_GE(told[0], 0);
      ASSERT_TRUE(std::isfinite(told[3]));
      ASSERT_LE(told[3], 60 * most + 1e-9);
    }
  }
}

TEST_P(AnySeries, DoesNotDependOnTheUnit) {
  const Values values = GetParam().make();
  if (*std::ranges::max_element(values) > 1e9) GTEST_SKIP() << "out of shape";
  const auto plain = run(values, 6);
  const auto large = run(values, 6, 1024);
  for (std::size_t t = 0; t < plain.size(); ++t) {
    for (std::size_t i = 0; i < kShares.size(); ++i) {
      ASSERT_EQ(1024 * plain[t][i], large[t][i]) << "step " << t;
    }
  }
}

TEST_P(AnySeries, DoesNotKnowTheFuture) {
  Values values = GetParam().make();
  const auto whole = run(values, 6);
  values.resize(values.size() / 2 + 1);
  const auto part = run(values, 6);
  for (std::size_t t = 0; t < part.size(); ++t) ASSERT_EQ(part[t], whole[t]);
}

TEST(PeakQuantiles, GiveAConstantForAConstant) {
  for (const std::uint32_t horizon : {1U, 6U, 12U}) {
    for (const double value : {1e-3, 7.0, 4e9}) {
      const Told last = run(Values(5000, value), horizon).back();
      EXPECT_NEAR(last[0], value, 0.01 * value);
      EXPECT_NEAR(last[2], value, 0.05 * value);
      EXPECT_NEAR(last[3], value, 0.1 * value);
    }
  }
}

TEST(PeakQuantiles, HoldWhileNothingIsSeen) {
  PeakQuantiles series(plan(6), 6);
  series.start(1000, 250);
  for (const double value : noise_around(1000, 50, 2000, 1)) {
    const auto step = static_cast<float>(value);
    series.observe({.most = step, .least = step});
  }
  const Told before = told_by(series);
  for (int i = 0; i < 100; ++i) {
    series.skip();
    for (std::size_t k = 0; k < before.size(); ++k) {
      EXPECT_GE(told_by(series)[k], 0.9F * before[k]);
      EXPECT_LE(told_by(series)[k], 1.1F * before[k]);
    }
  }
}

/// What a step touches while no season is believed in, but what is merely
/// reported.
std::size_t hot_bytes(std::uint32_t horizon) {
  const PeakQuantiles series(plan(horizon), horizon);
  const std::size_t seasonal =
      sizeof(SeasonMix) + sizeof(SeasonExperts) + horizon * sizeof(SeasonView);
  return series.state_bytes() - seasonal - sizeof(ForecastTruth);
}

TEST(PeakQuantiles, StateIsAtMostFiveHundredAndTwelveBytes) {
  EXPECT_LE(hot_bytes(1), 512U);
  // A view, four quantiles and a step: 4 * (9 + 4 + 2).
  EXPECT_LE(hot_bytes(10), 512U + 9 * 60);
  EXPECT_LE(sizeof(SeasonMix) + sizeof(SeasonExperts) - sizeof(Season), 128U);
}

// --- Each expert
// ---------------------------------------------------------------

class EachExpert : public testing::TestWithParam<std::size_t> {};
INSTANTIATE_TEST_SUITE_P(Table, EachExpert,
                         testing::Range(std::size_t{0}, kPoints));

/// Its points after each value.
Values points(std::size_t expert, const Values& values, double unit = 1) {
  constexpr std::size_t kHorizon = 4;
  Experts experts;
  SeasonExperts season;
  SeasonSearch search;
  experts.start(static_cast<float>(unit * values[0]),
                static_cast<float>(2 * unit * values[0]));
  Values out;
  for (std::size_t t = 0; t < values.size(); ++t) {
    experts.observe(static_cast<float>(unit * values[t]));
    season.observe(static_cast<float>(unit * values[t]), kHorizon);
    double trailing = 0;
    for (std::size_t i = t - std::min(t, kHorizon - 1); i <= t; ++i) {
      trailing = std::max(trailing, unit * values[i]);
    }
    const View view = experts.view(kHorizon, static_cast<float>(trailing));
    const std::size_t seasonal = expert - kPointsUnseasonal;
    if (expert < kPointsUnseasonal) {
      out.push_back(view.point(expert));
    } else {
      const bool tells = season.period() > 0;
      out.push_back(tells ? season.view(view).points[seasonal] : 0);
    }
    season.ponder(search, kHorizon, {});
  }
  return out;
}

TEST_P(EachExpert, IsFiniteAndNotNegative) {
  for (const Values& values : {extremes(), spikes(), bursts({}, 3000, 2)}) {
    for (const double point : points(GetParam(), values)) {
      ASSERT_TRUE(std::isfinite(point));
      ASSERT_GE(point, 0);
    }
  }
}

TEST_P(EachExpert, GivesAConstantForAConstant) {
  // The quantile's point is nothing; without a season its experts tell none.
  const bool tells = GetParam() < static_cast<std::size_t>(Expert::kQuantile);
  const double last = points(GetParam(), Values(1000, 640.0)).back();
  EXPECT_NEAR(last, tells ? 640 : 0, 1);
}

TEST_P(EachExpert, DoesNotDependOnTheUnit) {
  const Values values = bursts({.jitter = 0.1}, 2000, 4);
  const Values plain = points(GetParam(), values);
  const Values large = points(GetParam(), values, 4096);
  for (std::size_t t = 0; t < plain.size(); ++t) {
    ASSERT_EQ(4096 * plain[t], large[t]) << "step " << t;
  }
}

// --- The safeguard
// -------------------------------------------------------------

TEST(ExpertMix, IsNoLessThanThePeakOfLateWhileItIsMissedTooOften) {
  const MixPlan& each = plan(1);
  ExpertMix mix;
  mix.start(1, 0.25F);
  View view = {.points = {1, 1, 1, 1},
               .unit = 1,
               .last = 1,
               .before = 1,
               .turbulence = 1};
  const auto see = [&](int steps, float peak) {
    view.recent_peak = peak;
    for (int i = 0; i < steps; ++i) {
      mix.learn(each, {view}, quad_of(2), {.most = peak, .least = peak},
                0.995F);
    }
  };
  see(500, 1);
  EXPECT_EQ(mix.fallbacks(), 0U);
  see(40, 9);
  EXPECT_EQ(mix.fallbacks(), 1U);
  EXPECT_GE(mix.tell(each, {view}, 1)[2], 9);
  see(500, 1);
  EXPECT_EQ(mix.fallbacks(), 1U);
  view.recent_peak = 900;
  EXPECT_LT(mix.tell(each, {view}, 1)[3], 900);
}

// --- A season's begin and end
// ---------------------------------------------------

/// What follows from the last step and a constant, by the regression alone.
class HalfTheLast {
 public:
  HalfTheLast() { mix_.start(1, 0.25F); }

  void see(int steps, const SeasonView* season) {
    for (int i = 0; i < steps; ++i) {
      view_.before = view_.last;
      view_.last = static_cast<float>(1 + 0.1 * noise_.normal());
      view_.points = {view_.last, 0, 0, 0};
      // The truth may lie on either side of what is told: nothing is pushed.
      mix_.learn(plan(1), {view_, season}, quad_of(truth()),
                 {.most = truth() + 1e-3F, .least = truth() - 1e-3F}, 0.99F);
    }
  }
  float truth() const { return (1 + view_.last) / 2; }
  float told(const SeasonView* season) const {
    return mix_.tell(plan(1), {view_, season}, 10)[1];
  }
  /// Of which the regression hears what it hears without a season.
  SeasonView mean_season(std::array<float, kPointsSeasonal> points) const {
    return {.points = points, .expected = view_.before, .mean_next = 1};
  }
  ExpertMix& mix() { return mix_; }

 private:
  ExpertMix mix_;
  View view_ = {.unit = 1, .last = 1};
  Noise noise_{7};
};

TEST(ExpertMix, TellsTheSameWhenASeasonThatIsTheMeanBegins) {
  HalfTheLast series;
  series.see(3000, nullptr);
  const float before = series.told(nullptr);
  EXPECT_NEAR(before, series.truth(), 0.02);
  series.mix().welcome_season();
  const SeasonView mean = series.mean_season({before, before});
  EXPECT_NEAR(series.told(&mean), before, 1e-5);
}

TEST(ExpertMix, TellsTheSameWhenASeasonThatIsTheMeanEnds) {
  HalfTheLast series;
  series.see(300, nullptr);
  series.mix().welcome_season();
  const SeasonView low = {.points = {9, 9}, .mean_next = 0.5F};
  series.see(3000, &low);
  const SeasonView mean = series.mean_season({9, 9});
  const float before = series.told(&mean);
  series.mix().dismiss_season();
  EXPECT_NEAR(series.told(nullptr), before, 1e-5);
}

}  // namespace
}  // namespace outrider
