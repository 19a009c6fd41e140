// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cmath>
#include <complex>
#include <numbers>
#include <numeric>
#include <optional>

#include "agent/eval/point_methods.h"

namespace outrider::eval {
namespace {

constexpr std::size_t kWindow = 256;
constexpr std::size_t kBins = 40;
constexpr std::size_t kLookEvery = 16;  // ticks, for a pattern
constexpr double kAlike = 0.85;         // correlation that makes a pattern
constexpr std::size_t kPeriodsMax = 4;
constexpr double kKeep = 0.999;  // of what the chain has counted, a tick

using Window = std::array<double, kWindow>;

/// Points of the unit circle, a window's tick apart.
std::array<std::complex<double>, kWindow> make_circle() {
  std::array<std::complex<double>, kWindow> circle;
  for (std::size_t i = 0; i < kWindow; ++i) {
    const double turns = static_cast<double>(i) / kWindow;
    circle[i] = std::polar(1.0, -2 * std::numbers::pi * turns);
  }
  return circle;
}

/// |discrete Fourier transform| of a real window at `frequency`.
double magnitude_at(const Window& window, std::size_t frequency) {
  static const auto circle = make_circle();
  std::complex<double> sum;
  for (std::size_t i = 0; i < kWindow; ++i) {
    sum += window[i] * circle[i * frequency % kWindow];
  }
  return std::abs(sum);
}

double likeness(const Window& window, std::size_t lag) {
  double product = 0;
  double old_squares = 0;
  double young_squares = 0;
  for (std::size_t i = lag; i < kWindow; ++i) {
    product += window[i] * window[i - lag];
    young_squares += window[i] * window[i];
    old_squares += window[i - lag] * window[i - lag];
  }
  return product / std::sqrt(young_squares * old_squares + 1e-12);
}

/// In ticks; 0: no pattern. `window`: oldest first.
std::size_t find_pattern(Window window) {
  const double mean =
      std::accumulate(window.begin(), window.end(), 0.0) / kWindow;
  for (double& value : window) value -= mean;
  std::size_t strongest = 0;
  double most = 0;
  for (std::size_t frequency = 2; frequency <= kWindow / 2; ++frequency) {
    const double magnitude = magnitude_at(window, frequency);
    if (magnitude > most) {
      most = magnitude;
      strongest = frequency;
    }
  }
  if (strongest == 0) return 0;
  const auto period = static_cast<std::size_t>(std::lround(
      static_cast<double>(kWindow) / static_cast<double>(strongest)));
  return likeness(window, period) > kAlike ? period : 0;
}

/// Counts which of 40 levels follows which, and forgets.
class Chain {
 public:
  /// Shape: levels of 0 to 1, of the largest value so far.
  double mean_after(double level) {
    const auto bin = static_cast<std::size_t>(
        std::min(level * kBins, static_cast<double>(kBins - 1)));
    if (last_) {
      for (auto& row : counts_) {
        for (double& count : row) count *= kKeep;
      }
      counts_[*last_][bin] += 1;
    }
    last_ = bin;
    double total = 0;
    double sum = 0;
    for (std::size_t next = 0; next < kBins; ++next) {
      total += counts_[bin][next];
      sum += counts_[bin][next] * (static_cast<double>(next) + 0.5) / kBins;
    }
    return total > 0 ? sum / std::max(total, 1e-9) : level;
  }

 private:
  std::array<std::array<double, kBins>, kBins> counts_{};
  std::optional<std::size_t> last_;
};

class CloudScale : public PointForecaster {
 public:
  double forecast_after(double value) override {
    ring_[count_++ % kWindow] = value;
    most_ = std::max(most_, value);
    const double chained = most_ * chain_.mean_after(value / most_);
    if (count_ >= kWindow && count_ % kLookEvery == 0) {
      period_ = find_pattern(in_order());
    }
    return period_ > 0 ? mean_of_periods() : chained;
  }

 private:
  double ago(std::size_t ticks) const {
    return ring_[(count_ - 1 - ticks) % kWindow];
  }

  Window in_order() const {
    Window window;
    for (std::size_t i = 0; i < kWindow; ++i) window[i] = ago(kWindow - 1 - i);
    return window;
  }

  // What the next tick had in each of the last periods.
  double mean_of_periods() const {
    double sum = 0;
    std::size_t periods = 0;
    for (std::size_t back = period_; back <= kWindow && periods < kPeriodsMax;
         back += period_) {
      sum += ago(back - 1);
      ++periods;
    }
    return sum / static_cast<double>(periods);
  }

  Window ring_{};
  std::size_t count_ = 0;
  double most_ = 1e-9;
  std::size_t period_ = 0;
  Chain chain_;
};

}  // namespace

std::unique_ptr<PointForecaster> make_cloudscale() {
  return std::make_unique<CloudScale>();
}

}  // namespace outrider::eval
