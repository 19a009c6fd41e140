// SPDX-License-Identifier: Apache-2.0
#include "agent/eval/outrider_method.h"

#include <algorithm>
#include <array>
#include <memory>

#include "agent/core/peak_quantiles.h"

namespace outrider::eval {
namespace {

constexpr std::size_t kAtOnce = 4;
// The agent's own four come first and are told together; the others fill the
// curve.
constexpr std::array<double, 12> kShares = {
    0.5, 0.8, 0.95, 0.99, 0.6, 0.7, 0.85, 0.9, 0.93, 0.97, 0.995, 0.9995};
// In parts of the first value; the agent, whose unit is known, has a least one.
constexpr float kPriorShare = 0.2F;
constexpr float kValueMost = 1e15F;
// A search for a season is as long as it takes; the agent has the time between
// two ticks for it.
constexpr int kPonders = 4;

class OutriderMethod final : public Method {
 public:
  OutriderMethod();
  void step(double value, std::span<double> allocations) override;

 private:
  std::array<std::unique_ptr<PeakQuantiles>, kShares.size() / kAtOnce> series_;
  std::array<SeasonSearch, kShares.size() / kAtOnce> searches_;
};

const std::array<MixPlan, kShares.size() / kAtOnce>& plans() {
  const auto plan = [](std::size_t first) {
    std::array<double, kAtOnce> shares{};
    std::copy_n(kShares.begin() + static_cast<std::ptrdiff_t>(first), kAtOnce,
                shares.begin());
    return MixPlan(shares, 1);
  };
  static const std::array<MixPlan, kShares.size() / kAtOnce> all = {
      plan(0), plan(kAtOnce), plan(2 * kAtOnce)};
  return all;
}

OutriderMethod::OutriderMethod() {
  for (std::size_t i = 0; i < series_.size(); ++i) {
    series_[i] = std::make_unique<PeakQuantiles>(plans()[i], 1);
  }
}

/// By rising quantile, as the knob is.
void OutriderMethod::step(double value, std::span<double> allocations) {
  const float demand = std::clamp(static_cast<float>(value), 0.0F, kValueMost);
  std::array<std::pair<double, double>, kShares.size()> told;
  for (std::size_t i = 0; i < series_.size(); ++i) {
    PeakQuantiles& series = *series_[i];
    if (!series.is_started()) series.start(demand, kPriorShare * demand);
    series.observe({.most = demand, .least = demand});
    for (int k = 0; k < kPonders; ++k) series.ponder(searches_[i], {});
    for (std::size_t j = 0; j < kAtOnce; ++j) {
      told[kAtOnce * i + j] = {kShares[kAtOnce * i + j], series.told()[j]};
    }
  }
  std::sort(told.begin(), told.end());
  for (std::size_t i = 0; i < told.size(); ++i) allocations[i] = told[i].second;
}

}  // namespace

MethodRow outrider_row() {
  std::vector<double> knob(kShares.begin(), kShares.end());
  std::sort(knob.begin(), knob.end());
  return {"outrider", knob, false,
          [](const SeriesFacts&) -> std::unique_ptr<Method> {
            return std::make_unique<OutriderMethod>();
          }};
}

}  // namespace outrider::eval
