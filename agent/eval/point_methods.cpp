// SPDX-License-Identifier: Apache-2.0
#include "agent/eval/point_methods.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "agent/eval/window_quantiles.h"

namespace outrider::eval {
namespace {

constexpr std::size_t kResiduals = 256;

class Last : public PointForecaster {
 public:
  double forecast_after(double value) override { return value; }
};

class Ewma : public PointForecaster {
 public:
  explicit Ewma(double gain) : gain_(gain) {}

  double forecast_after(double value) override {
    if (!level_) level_ = value;
    *level_ += gain_ * (value - *level_);
    return *level_;
  }

 private:
  double gain_;
  std::optional<double> level_;
};

class DampedHolt : public PointForecaster {
 public:
  double forecast_after(double value) override {
    if (!level_) {
      level_ = value;
    } else {
      const double expected = *level_ + kDamping * slope_;
      const double level = kLevelGain * value + (1 - kLevelGain) * expected;
      slope_ =
          kSlopeGain * (level - *level_) + (1 - kSlopeGain) * kDamping * slope_;
      level_ = level;
    }
    return *level_ + kDamping * slope_;
  }

 private:
  static constexpr double kLevelGain = 0.5;
  static constexpr double kSlopeGain = 0.1;
  static constexpr double kDamping = 0.9;

  std::optional<double> level_;
  double slope_ = 0;
};

class HoltWinters : public PointForecaster {
 public:
  explicit HoltWinters(std::size_t season) : seasonal_(season) {}

  double forecast_after(double value) override {
    if (!level_) level_ = value;
    double& seasonal = seasonal_[tick_ % seasonal_.size()];
    if (tick_ < seasonal_.size()) {
      // The first season: a profile around a slow level.
      *level_ += 0.02 * (value - *level_);
      seasonal = value - *level_;
    } else {
      adapt(value, seasonal);
    }
    ++tick_;
    if (tick_ < seasonal_.size()) return value;
    return *level_ + kDamping * slope_ + seasonal_[tick_ % seasonal_.size()];
  }

 private:
  static constexpr double kLevelGain = 0.4;
  static constexpr double kSlopeGain = 0.02;
  static constexpr double kSeasonGain = 0.15;
  static constexpr double kDamping = 0.9;

  void adapt(double value, double& seasonal) {
    const double level = kLevelGain * (value - seasonal) +
                         (1 - kLevelGain) * (*level_ + kDamping * slope_);
    slope_ =
        kSlopeGain * (level - *level_) + (1 - kSlopeGain) * kDamping * slope_;
    level_ = level;
    seasonal += kSeasonGain * (value - level - seasonal);
  }

  std::vector<double> seasonal_;
  std::size_t tick_ = 0;
  std::optional<double> level_;
  double slope_ = 0;
};

class WithResiduals : public Method {
 public:
  explicit WithResiduals(std::unique_ptr<PointForecaster> forecaster)
      : forecaster_(std::move(forecaster)) {}

  void step(double value, std::span<double> allocations) override {
    if (forecast_) residuals_.add(value - *forecast_);
    forecast_ = forecaster_->forecast_after(value);
    residuals_.read(allocations.first<kTaus.size()>());
    for (double& allocation : allocations) {
      allocation = std::max(*forecast_ + allocation, 0.0);
    }
  }

 private:
  std::unique_ptr<PointForecaster> forecaster_;
  std::optional<double> forecast_;
  WindowQuantiles residuals_{kResiduals};
};

}  // namespace

std::unique_ptr<PointForecaster> make_last() {
  return std::make_unique<Last>();
}

std::unique_ptr<PointForecaster> make_ewma(double gain) {
  return std::make_unique<Ewma>(gain);
}

std::unique_ptr<PointForecaster> make_damped_holt() {
  return std::make_unique<DampedHolt>();
}

std::unique_ptr<PointForecaster> make_holt_winters(std::size_t season) {
  return std::make_unique<HoltWinters>(season);
}

std::unique_ptr<Method> make_with_residuals(
    std::unique_ptr<PointForecaster> forecaster) {
  return std::make_unique<WithResiduals>(std::move(forecaster));
}

}  // namespace outrider::eval
