// SPDX-License-Identifier: Apache-2.0
#include "agent/core/forecast_experts.h"

#include <algorithm>
#include <cmath>

#include "agent/core/quad.h"

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
// Of the top: what is less is taken for nothing.
constexpr float kUnitShare = 1e-6F;

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

bool is_figure(float figure) { return figure >= 0 && figure <= kFigureMost; }

}  // namespace

void Experts::start(float demand, float most) {
  last_ = before_ = ewma_ = level_ = mean_ = demand;
  top_ = most;
}

bool View::is_sound() const {
  return unit >= kUnitLeast && is_figure(unit) && is_figure(recent_peak) &&
         is_figure(last) && is_figure(before) && is_figure(turbulence) &&
         std::ranges::all_of(points, is_figure);
}

bool SeasonView::is_sound() const {
  return is_figure(expected) && is_figure(mean_next) && is_figure(peak_next) &&
         std::ranges::all_of(points, is_figure);
}

bool Experts::is_sound() const {
  for (const float any : {level_, slope_}) {
    if (!(std::abs(any) <= kFigureMost)) return false;
  }
  for (const float figure :
       {last_, before_, ewma_, mean_, turbulence_, recent_, top_}) {
    if (!is_figure(figure)) return false;
  }
  return ar_.is_sound();
}

float Experts::unit() const {
  return std::max({mean_, kUnitShare * top_, kUnitLeast});
}

void Experts::observe(float demand) {
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
}

View Experts::view(std::size_t horizon, float trailing) const {
  // The peak of a slope that rises is at its end, of one that falls at once.
  const float holt = level_ + slope_ * kReach[slope_ > 0 ? horizon : 1];
  return {.points = {trailing, ewma_, std::max(holt, 0.0F), ar_.next()},
          .unit = unit(),
          .recent_peak = std::max(trailing, recent_),
          .last = last_,
          .before = before_,
          .turbulence = turbulence_};
}

}  // namespace outrider
