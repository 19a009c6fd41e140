// SPDX-License-Identifier: Apache-2.0
#include "agent/eval/csoaa.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace outrider::eval {
namespace {

constexpr std::size_t kLevels = 20;
constexpr std::size_t kHistory = 8;
constexpr std::size_t kFeatures = 7;
constexpr double kRate = 0.3;
constexpr double kKeep = 0.999;       // of the squared gradients
constexpr double kPeakKeep = 0.9998;  // of the largest value
constexpr double kPeakMargin = 1.05;

using Features = std::array<double, kFeatures>;

double level_at(std::size_t index) {
  return static_cast<double>(index + 1) / kLevels;
}

/// What one level would cost, learned by normalised gradient descent.
class Regressor {
 public:
  double cost_of(const Features& features) const {
    return std::inner_product(weights_.begin(), weights_.end(),
                              features.begin(), 0.0);
  }

  void learn(const Features& features, double cost) {
    const double error = std::clamp(cost_of(features) - cost, -50.0, 50.0);
    for (std::size_t i = 0; i < kFeatures; ++i) {
      const double gradient = error * features[i];
      squares_[i] = kKeep * squares_[i] + gradient * gradient;
      weights_[i] -= kRate * gradient / std::sqrt(squares_[i]);
    }
  }

 private:
  Features weights_{};
  Features squares_ = [] {
    Features squares;
    squares.fill(1e-3);
    return squares;
  }();
};

class Csoaa : public Method {
 public:
  void step(double value, std::span<double> allocations) override {
    peak_ = std::max(peak_ * kPeakKeep, value * kPeakMargin);
    if (count_ > 0) learn(value / peak_);
    ring_[count_++ % kHistory] = value;
    features_ = describe(value);
    for (std::size_t i = 0; i < kCostRatios.size(); ++i) {
      allocations[i] = cheapest_level(i) * peak_;
    }
  }

 private:
  void learn(double seen) {
    for (std::size_t ratio = 0; ratio < kCostRatios.size(); ++ratio) {
      for (std::size_t i = 0; i < kLevels; ++i) {
        const double surplus = level_at(i) - seen;
        const double cost =
            surplus >= 0 ? surplus : -kCostRatios[ratio] * surplus;
        regressors_[ratio][i].learn(features_, cost);
      }
    }
  }

  double cheapest_level(std::size_t ratio) const {
    std::size_t best = 0;
    double least = regressors_[ratio][0].cost_of(features_);
    for (std::size_t i = 1; i < kLevels; ++i) {
      const double cost = regressors_[ratio][i].cost_of(features_);
      if (cost < least) {
        least = cost;
        best = i;
      }
    }
    return level_at(best);
  }

  Features describe(double value) const {
    const std::size_t held = std::min(count_, kHistory);
    std::array<double, kHistory> sorted{};
    for (std::size_t i = 0; i < held; ++i) sorted[i] = ring_[i] / peak_;
    std::sort(sorted.begin(), sorted.begin() + static_cast<long>(held));
    const auto count = static_cast<double>(held);
    double sum = 0;
    for (std::size_t i = 0; i < held; ++i) sum += sorted[i];
    const double mean = sum / count;
    double squares = 0;
    for (std::size_t i = 0; i < held; ++i) {
      squares += (sorted[i] - mean) * (sorted[i] - mean);
    }
    const double median = (sorted[(held - 1) / 2] + sorted[held / 2]) / 2;
    return {sorted[0], sorted[held - 1], mean, std::sqrt(squares / count),
            median,    value / peak_,    1};
  }

  double peak_ = 1e-9;
  std::size_t count_ = 0;
  std::array<double, kHistory> ring_{};
  Features features_{};
  std::array<std::array<Regressor, kLevels>, kCostRatios.size()> regressors_;
};

}  // namespace

std::unique_ptr<Method> make_csoaa() { return std::make_unique<Csoaa>(); }

}  // namespace outrider::eval
