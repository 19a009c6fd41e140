// SPDX-License-Identifier: Apache-2.0
#include "agent/core/forecast_experts.h"

#include <algorithm>

namespace outrider {
namespace {

constexpr float kEwmaGain = 0.3F;
constexpr float kMeanGain = 0.02F;  // half forgotten in 35 steps
// Holt's method with a damped trend (Gardner and McKenzie 1985).
constexpr float kLevelGain = 0.5F;
constexpr float kSlopeGain = 0.1F;
constexpr float kDamping = 0.9F;
// Above what a season foresaw for now, by so much.
constexpr float kOverrun = 1.25F;

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

std::uint16_t Experts::to_ring(float demand) {
  return static_cast<std::uint16_t>(
      std::min(demand / kRingUnit + 0.5F, 65'535.0F));
}

void Experts::observe(float demand, float trailing) {
  last_ = demand;
  trailing_ = trailing;
  ewma_ += kEwmaGain * (demand - ewma_);
  mean_ += kMeanGain * (demand - mean_);
  const float expected = level_ + kDamping * slope_;
  const float level = expected + kLevelGain * (demand - expected);
  slope_ = kSlopeGain * (level - level_) + (1 - kSlopeGain) * kDamping * slope_;
  level_ = level;
  season_.push(to_ring(demand));
}

// A burst that lasts longer than the last ones did is not over because they
// were.
float Experts::seasonal(std::size_t horizon) const {
  const auto foreseen = [this](std::size_t steps) {
    return kRingUnit * static_cast<float>(season_.peak_ahead(steps));
  };
  const bool overruns = last_ > kOverrun * foreseen(0) + kRingUnit;
  const float ahead = foreseen(horizon);
  return overruns ? std::max(ahead, last_) : ahead;
}

Points Experts::points(std::size_t horizon) const {
  Points points{};
  // The peak of a slope that rises is at its end, of one that falls at once.
  const float ahead = level_ + slope_ * kReach[slope_ > 0 ? horizon : 1];
  points[static_cast<std::size_t>(Expert::kLast)] = last_;
  points[static_cast<std::size_t>(Expert::kTrailing)] = trailing_;
  points[static_cast<std::size_t>(Expert::kEwma)] = ewma_;
  points[static_cast<std::size_t>(Expert::kHolt)] = std::max(ahead, 0.0F);
  points[static_cast<std::size_t>(Expert::kSeason)] =
      season_.period() > 0 ? seasonal(horizon) : trailing_;
  return points;
}

std::size_t Experts::situation() const {
  const std::size_t high = last_ > mean_ ? 2 : 0;
  return high + (last_ > ewma_ ? 1 : 0);
}

}  // namespace outrider
