// SPDX-License-Identifier: Apache-2.0
#include "agent/horizon/outlook.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numbers>
#include <random>
#include <string>
#include <vector>

namespace outrider {
namespace {

constexpr std::size_t kSeason = 24;

double wave(std::size_t step) {
  return 50 + 30 * std::sin(2 * std::numbers::pi * static_cast<double>(step) /
                            kSeason);
}

TEST(HorizonModels, KeepAConstant) {
  const std::vector<double> constant(400, 7);
  for (const auto& model : all_horizon_models()) {
    model->fit({.values = constant, .season = kSeason});
    std::vector<double> ahead(288);
    model->forecast(ahead);
    for (const double value : ahead) {
      EXPECT_NEAR(value, 7, 0.05) << model->name();
    }
  }
}

TEST(HorizonModels, RepeatASeason) {
  std::vector<double> waves;
  for (std::size_t i = 0; i < 20 * kSeason + 5; ++i) waves.push_back(wave(i));
  for (const auto& model : all_horizon_models()) {
    model->fit({.values = waves, .season = kSeason});
    std::vector<double> ahead(2 * kSeason);
    model->forecast(ahead);
    for (std::size_t i = 0; i < ahead.size(); ++i) {
      EXPECT_NEAR(ahead[i], wave(waves.size() + i), 3)
          << model->name() << " " << i;
    }
  }
}

// What is observed one by one counts as if it had been there at the fit.
TEST(HorizonModels, StayInPhaseAsTheyObserve) {
  std::vector<double> waves;
  for (std::size_t i = 0; i < 20 * kSeason; ++i) waves.push_back(wave(i));
  for (const auto& model : all_horizon_models()) {
    model->fit({.values = waves, .season = kSeason});
    for (std::size_t i = 0; i < 7; ++i) model->observe(wave(waves.size() + i));
    std::vector<double> ahead(kSeason);
    model->forecast(ahead);
    EXPECT_NEAR(ahead[5], wave(waves.size() + 12), 3) << model->name();
  }
}

TEST(Outlook, CoversWhatItSays) {
  std::mt19937 random{1};
  std::normal_distribution<double> noise{0, 4};
  Outlook outlook;
  for (std::size_t i = 0; i < 3000; ++i) {
    outlook.observe(std::max(wave(i) + noise(random), 0.0));
  }
  for (const HorizonScore& score : outlook.scores()) {
    if (score.ahead > 48) continue;
    EXPECT_GT(score.count, 150U);
    EXPECT_NEAR(score.covered, 0.8, 0.06) << score.model << " " << score.ahead;
  }
}

// The upper end of an 80 % interval leaves out half of the other 20 %.
TEST(Outlook, UpperEndsHoldAsOftenAsTheySay) {
  std::mt19937 random{3};
  std::normal_distribution<double> noise{0, 4};
  Outlook outlook;
  for (std::size_t i = 0; i < 3000; ++i) {
    outlook.observe(std::max(wave(i) + noise(random), 0.0));
  }
  for (const HorizonScore& score : outlook.scores()) {
    if (score.ahead > 48) continue;
    EXPECT_NEAR(score.held, 0.9, 0.05) << score.model << " " << score.ahead;
    EXPECT_GT(score.judged, 150U);
    EXPECT_LT(score.judged, score.count);
    EXPECT_NEAR(score.mean, 50, 3);
  }
}

// What was not seen cannot have proved a forecast right.
TEST(Outlook, ScoresNothingByWhatIsMissing) {
  Outlook outlook;
  for (std::size_t i = 0; i < 600; ++i) outlook.observe(wave(i));
  const std::vector<HorizonScore> before = outlook.scores();
  for (std::size_t i = 0; i < 48; ++i) {
    outlook.observe(std::numeric_limits<double>::quiet_NaN());
  }
  const std::vector<HorizonScore> after = outlook.scores();
  ASSERT_EQ(after.size(), before.size());
  for (std::size_t i = 0; i < after.size(); ++i) {
    EXPECT_EQ(after[i].count, before[i].count) << after[i].ahead;
  }
}

TEST(Outlook, UsesTheListedModelsAlone) {
  Outlook outlook{{.models = {HorizonModelType::kArima}}};
  for (std::size_t i = 0; i < 400; ++i) outlook.observe(wave(i));
  for (const HorizonScore& score : outlook.scores()) {
    const std::string model = score.model;
    EXPECT_TRUE(model == "arima" || model == kCombined || model == kChosen)
        << model;
  }
  EXPECT_TRUE(outlook.forecast(12));
}

TEST(Outlook, LooksNoFurtherAheadThanItIsToAndSeesTheSame) {
  Outlook near{{.ahead_max = 24}};
  Outlook far;
  for (std::size_t i = 0; i < 1000; ++i) {
    near.observe(wave(i));
    far.observe(wave(i));
  }
  for (const HorizonScore& score : near.scores()) EXPECT_LE(score.ahead, 48U);
  for (const std::size_t ahead : {1U, 12U, 24U}) {
    EXPECT_EQ(near.forecast(ahead)->high, far.forecast(ahead)->high);
  }
}

TEST(Outlook, GivesFiniteOrderedIntervalsOfAnything) {
  std::mt19937 random{2};
  std::exponential_distribution<double> heavy{0.001};
  Outlook outlook{{.refit_every = 96}};
  for (std::size_t i = 0; i < 700; ++i) {
    double value = heavy(random);
    if (i % 7 == 0) value = 0;
    if (i % 11 == 0) value = std::numeric_limits<double>::quiet_NaN();
    outlook.observe(value);
    const auto interval = outlook.forecast(1 + i % 288);
    if (!interval) continue;
    EXPECT_TRUE(std::isfinite(interval->high));
    EXPECT_LE(0, interval->low);
    EXPECT_LE(interval->low, interval->point);
    EXPECT_LE(interval->point, interval->high);
  }
}

TEST(Outlook, SaysNothingBeforeItHasSeenEnough) {
  Outlook outlook;
  EXPECT_FALSE(outlook.forecast(12));
  for (int i = 0; i < 63; ++i) outlook.observe(1);
  EXPECT_FALSE(outlook.forecast(12));
  outlook.observe(1);
  EXPECT_TRUE(outlook.forecast(12));
}

}  // namespace
}  // namespace outrider
