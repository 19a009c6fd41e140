// SPDX-License-Identifier: Apache-2.0
#include "agent/core/memory_forecast.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <vector>

#include "agent/core/memory_policy.h"

namespace outrider {
namespace {

constexpr Duration kStep = std::chrono::seconds{1};
// What a guest may touch before anything is known of it, in MiB.
constexpr float kGrowthPrior = 64;
constexpr float kUsedPriorShare = 0.05F;
constexpr std::array<double, 4> kShares = {0.5, 0.8, 0.95, 0.99};
constexpr int kP99 = 3;

const MixPlan& plan_of(std::uint32_t horizon) {
  static const std::vector<MixPlan> plans = [] {
    std::vector<MixPlan> all;
    for (std::uint32_t steps = 1; steps <= kHorizonMax; ++steps) {
      all.emplace_back(kShares, steps);
    }
    return all;
  }();
  return plans[horizon - 1];
}

std::uint32_t steps_of(Duration horizon) {
  const auto steps = static_cast<std::uint32_t>(horizon / kStep);
  assert(steps >= 2 && steps <= kHorizonMax);
  return steps;
}

float to_mib(Bytes bytes) {
  return static_cast<float>(bytes.count()) /
         static_cast<float>(kMebibyte.count());
}

// Up: a MiB too much harms nobody.
Bytes from_mib(float mib) {
  return Bytes{static_cast<std::int64_t>(std::ceil(mib)) * kMebibyte.count()};
}

}  // namespace

MemoryForecast::MemoryForecast(Duration horizon)
    : horizon_(steps_of(horizon)),
      growth_(plan_of(horizon_), horizon_),
      used_(plan_of(horizon_), horizon_) {}

void MemoryForecast::observe(Instant now, Bytes resident, Bytes used) {
  const float size = to_mib(resident);
  if (step_ends_ == Instant{}) {
    growth_.start(0, kGrowthPrior);
    step_ends_ = now + kStep;
    last_ = second_ago_ = size;
  }
  finish_steps(now);
  if (!has_seen_) least_ = most_ = size;
  has_seen_ = true;
  least_ = std::min(least_, size);
  most_ = std::max(most_, size);
  last_ = size;
  if (used.count() >= 0) used_most_ = std::max(used_most_, to_mib(used));
}

void MemoryForecast::skip(Instant now) {
  if (step_ends_ != Instant{}) finish_steps(now);
}

void MemoryForecast::finish_steps(Instant now) {
  // What was missed for longer than the horizon is as good as unknown.
  const Duration longest = horizon_ * kStep;
  if (now - step_ends_ > longest) step_ends_ = now - longest;
  for (; now >= step_ends_; step_ends_ += kStep) step();
}

void MemoryForecast::step() {
  if (!has_seen_) {
    growth_.skip();
    if (used_.is_started()) used_.skip();
    rate_ = 0;
    return;
  }
  const std::size_t known = std::min<std::size_t>(steps_, horizon_);
  const float least = std::min(
      known == 0
          ? most_
          : *std::min_element(least_of_.begin(),
                              least_of_.begin() + static_cast<int>(known)),
      most_);
  const float growth = most_ - least;
  growth_.observe({.most = growth, .least = growth});
  least_of_[steps_ % horizon_] = least_;
  ++steps_;
  rate_ = std::max(last_ - second_ago_, 0.0F);
  second_ago_ = last_;
  if (used_most_ >= 0) {
    if (!used_.is_started()) {
      used_.start(used_most_, kUsedPriorShare * used_most_);
    }
    used_.observe({.most = used_most_, .least = used_most_});
  } else if (used_.is_started()) {
    used_.skip();
  }
  used_most_ = -1;
  has_seen_ = false;
}

Bytes MemoryForecast::ramp() const {
  const float rate = std::max(rate_, last_ - second_ago_);
  return from_mib(rate * static_cast<float>(horizon_));
}

Bytes MemoryForecast::growth() const {
  if (!growth_.is_started()) return from_mib(kGrowthPrior);
  return std::max(from_mib(growth_.told()[kP99]), ramp());
}

Bytes MemoryForecast::used() const {
  return used_.is_started() ? from_mib(used_.told()[kP99]) : Bytes{};
}

bool MemoryForecast::ponder(SeasonSearch& search) {
  PeakQuantiles& series = pondering_used_ ? used_ : growth_;
  if (!series.ponder(search, {})) return false;
  pondering_used_ = !pondering_used_;
  return !pondering_used_;  // both had their turn
}

}  // namespace outrider
