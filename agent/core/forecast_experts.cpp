// SPDX-License-Identifier: Apache-2.0
#include "agent/core/forecast_experts.h"

#include <algorithm>
#include <cmath>

#include "agent/base/prefetch.h"

namespace outrider {
namespace {

constexpr float kEwmaGain = 0.3F;
constexpr float kMeanGain = 0.02F;  // half forgotten in 35 steps
constexpr float kTurbulenceGain = 0.1F;
constexpr float kRecentKept = 0.8F;
constexpr float kTopKept = 0.9998F;
// Holt's method with a damped trend (Gardner and McKenzie 1985).
constexpr float kLevelGain = 0.5F;
constexpr float kSlopeGain = 0.1F;
constexpr float kDamping = 0.9F;
constexpr float kOffKept = 0.98F;
// Above what a season foresaw for now, by so much.
constexpr float kOverrun = 1.25F;
constexpr float kOverrunLeast = 0.01F;  // of the mean
// Of the top, and at all: what is less is taken for nothing.
constexpr float kUnitShare = 1e-6F;
constexpr float kUnitLeast = 1e-18F;
constexpr float kFeatureMost = 20;
constexpr float kConstant = 0.3F;

/// How far a slope of 1 goes in so many steps.
constexpr std::array<float, kHorizonMax + 1> kReach = [] {
  std::array<float, kHorizonMax + 1> reach{};
  float step = 1;
  for (std::size_t i = 1; i < reach.size(); ++i) {
    step *= kDamping;
    reach[i] = reach[i - 1] + step;
  }
  return reach;
}();

}  // namespace

static_assert(sizeof(Experts) == sizeof(AutoRegression) + 13 * 4 +
                                     sizeof(PeriodsAgo) + sizeof(Season));

void Experts::start(float demand, float most) {
  last_ = before_ = ewma_ = level_ = mean_ = demand;
  top_ = most;
}

void Experts::prefetch() const {
  prefetch_lines(this, offsetof(Experts, season_));
  season_.prefetch();
}

bool View::is_sound() const {
  const auto is_figure = [](float figure) {
    return figure >= 0 && figure <= kFigureMost;
  };
  return (count == kPoints || count == kPointsUnseasonal) && is_figure(unit) &&
         is_figure(recent_peak) && std::ranges::all_of(points, is_figure) &&
         std::ranges::all_of(features, is_figure);
}

bool Experts::is_sound() const {
  for (const float any : {level_, slope_, off_season_}) {
    if (!(std::abs(any) <= kFigureMost)) return false;
  }
  for (const float figure :
       {last_, before_, ewma_, mean_, turbulence_, recent_, top_, expected_,
        periods_.mean_next, periods_.peak_now, periods_.peak_next}) {
    if (!(figure >= 0 && figure <= kFigureMost)) return false;
  }
  return std::isfinite(off_by_off_) && off_squared_ >= 0 &&
         std::isfinite(off_squared_) && periods_.mean_step >= -1 &&
         periods_.mean_step <= kFigureMost && ar_.is_sound() &&
         season_.is_sound();
}

float Experts::unit() const {
  return std::max({mean_, kUnitShare * top_, kUnitLeast});
}

void Experts::observe(float demand, std::size_t horizon) {
  if (is_seasonal()) follow_season(demand);
  turbulence_ += kTurbulenceGain * (std::abs(demand - last_) - turbulence_);
  before_ = last_;
  last_ = demand;
  ewma_ += kEwmaGain * (demand - ewma_);
  mean_ += kMeanGain * (demand - mean_);
  recent_ = std::max(kRecentKept * recent_, demand);
  top_ = std::max(kTopKept * top_, demand);
  const float expected = level_ + kDamping * slope_;
  const float level = expected + kLevelGain * (demand - expected);
  slope_ = kSlopeGain * (level - level_) + (1 - kSlopeGain) * kDamping * slope_;
  level_ = level;
  // What fades to next to nothing would be slow to count with.
  for (float* faded :
       {&turbulence_, &ewma_, &mean_, &recent_, &top_, &slope_, &level_}) {
    if (std::abs(*faded) < kUnitLeast) *faded = 0;
  }
  ar_.observe(demand, unit());
  push(demand, horizon);
}

void Experts::skip(std::size_t horizon) { push(last_, horizon); }

void Experts::push(float demand, std::size_t horizon) {
  season_.push(demand);
  expected_ = is_seasonal() ? periods_.mean_step : mean_;
  periods_ = season_.period() > 0 ? season_.periods_ago(horizon) : PeriodsAgo{};
}

void Experts::follow_season(float demand) {
  const float off = demand - periods_.mean_step;
  off_by_off_ = kOffKept * off_by_off_ + off * off_season_;
  off_squared_ = kOffKept * off_squared_ + off_season_ * off_season_;
  off_season_ = off;
}

float Experts::season_point() const {
  const float left = off_squared_ > 0 ? off_by_off_ / off_squared_ : 0;
  const float off = std::clamp(left, 0.0F, 1.0F) * off_season_;
  return std::max(periods_.mean_next + off, 0.0F);
}

// A burst that lasts longer than the last ones did is not over because they
// were.
float Experts::season_peak_point() const {
  const bool overruns =
      last_ > kOverrun * periods_.peak_now + kOverrunLeast * unit();
  return overruns ? std::max(periods_.peak_next, last_) : periods_.peak_next;
}

View Experts::view(std::size_t horizon, float trailing) const {
  View view;
  const auto tell = [&view](Expert expert, float point) {
    view.points[static_cast<std::size_t>(expert)] = point;
  };
  // The peak of a slope that rises is at its end, of one that falls at once.
  const float holt = level_ + slope_ * kReach[slope_ > 0 ? horizon : 1];
  tell(Expert::kTrailing, trailing);
  tell(Expert::kEwma, ewma_);
  tell(Expert::kHolt, std::max(holt, 0.0F));
  tell(Expert::kAr, ar_.next());
  tell(Expert::kQuantile, 0);
  const bool seasonal = is_seasonal();
  if (seasonal) {
    tell(Expert::kSeason, season_point());
    tell(Expert::kSeasonPeak, season_peak_point());
    view.count = kPoints;
  }
  view.unit = unit();
  view.recent_peak = std::max(trailing, recent_);
  view.features = {last_,
                   seasonal ? expected_ : before_,
                   ewma_,
                   mean_,
                   view.recent_peak,
                   seasonal ? periods_.mean_next : mean_,
                   seasonal ? periods_.peak_next : turbulence_,
                   kConstant * view.unit};
  const float by_unit = 1 / view.unit;
  for (float& feature : view.features) {
    feature = std::min(feature * by_unit, kFeatureMost);
  }
  return view;
}

}  // namespace outrider
