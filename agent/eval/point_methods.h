// SPDX-License-Identifier: Apache-2.0
// Methods that forecast one value and add a quantile of how far they were off.
#pragma once

#include <memory>

#include "agent/eval/method.h"

namespace outrider::eval {

/// Forecasts the next value of one series.
class PointForecaster {
 public:
  virtual ~PointForecaster() = default;
  virtual double forecast_after(double value) = 0;
};

std::unique_ptr<PointForecaster> make_last();
std::unique_ptr<PointForecaster> make_ewma(double gain);
/// Holt's linear method with a damped trend (Gardner and McKenzie 1985).
std::unique_ptr<PointForecaster> make_damped_holt();
/// Additive Holt-Winters, damped, with the season that the series is told of.
std::unique_ptr<PointForecaster> make_holt_winters(std::size_t season);
/// A repeating pattern where one shows, else a Markov chain (Shen et al. 2011).
std::unique_ptr<PointForecaster> make_cloudscale();

/// A point forecast plus the residual's quantile over the last 256 ticks.
std::unique_ptr<Method> make_with_residuals(
    std::unique_ptr<PointForecaster> forecaster);

}  // namespace outrider::eval
