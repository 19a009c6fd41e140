// SPDX-License-Identifier: Apache-2.0
#include "agent/eval/percentile_methods.h"

#include <algorithm>
#include <cmath>

#include "agent/eval/window_quantiles.h"

namespace outrider::eval {
namespace {

class LastMargin : public Method {
 public:
  void step(double value, std::span<double> allocations) override {
    for (std::size_t i = 0; i < kLastMargins.size(); ++i) {
      allocations[i] = value * (1 + kLastMargins[i]);
    }
  }
};

class WindowMax : public Method {
 public:
  void step(double value, std::span<double> allocations) override {
    ring_[count_++ % ring_.size()] = value;
    const std::size_t held = std::min(count_, ring_.size());
    double most = value;
    std::size_t ago = 0;
    for (std::size_t i = 0; i < kMaxWindows.size(); ++i) {
      const auto window = static_cast<std::size_t>(kMaxWindows[i]);
      for (; ago < std::min(window, held); ++ago) {
        most = std::max(most, ring_[(count_ - 1 - ago) % ring_.size()]);
      }
      allocations[i] = most;
    }
  }

 private:
  std::array<double, 300> ring_{};
  std::size_t count_ = 0;
};

class WindowPercentile : public Method {
 public:
  explicit WindowPercentile(std::size_t size) : window_(size) {}

  void step(double value, std::span<double> allocations) override {
    window_.add(value);
    window_.read(allocations.first<kTaus.size()>());
  }

 private:
  WindowQuantiles window_;
};

class DecayingHistogram : public Method {
 public:
  DecayingHistogram(double scale, double half_life, double margin)
      : keep_(std::exp2(-1 / half_life)),
        least_(std::max(scale * 1e-3, kLeast)),
        margin_(margin) {}

  void step(double value, std::span<double> allocations) override {
    for (double& weight : weights_) weight *= keep_;
    weights_[bin_of(value)] += 1;
    double total = 0;
    for (const double weight : weights_) total += weight;
    double below = 0;
    std::size_t bin = 0;
    for (std::size_t i = 0; i < kTaus.size(); ++i) {
      while (bin < kBins &&
             (below + weights_[bin]) / total < kTaus[i] - 1e-12) {
        below += weights_[bin++];
      }
      const auto edge = static_cast<double>(std::min(bin, kBins - 1));
      allocations[i] = least_ * std::pow(kGrowth, edge) * margin_;
    }
  }

 private:
  static constexpr std::size_t kBins = 120;
  static constexpr double kGrowth = 1.12;
  static constexpr double kLeast = 1e-12;  // for a series of nothing

  std::size_t bin_of(double value) const {
    const double ratio = std::max(value, least_) / least_;
    const double bin = std::ceil(std::log(ratio) / std::log(kGrowth));
    return static_cast<std::size_t>(std::clamp(bin, 0.0, kBins - 1.0));
  }

  double keep_;
  double least_;
  double margin_;
  std::array<double, kBins> weights_{};
};

class NSigma : public Method {
 public:
  explicit NSigma(double gain) : gain_(gain) {}

  void step(double value, std::span<double> allocations) override {
    if (first_) mean_ = value;
    first_ = false;
    const double difference = value - mean_;
    mean_ += gain_ * difference;
    variance_ = (1 - gain_) * (variance_ + gain_ * difference * difference);
    for (std::size_t i = 0; i < kSigmas.size(); ++i) {
      allocations[i] = mean_ + kSigmas[i] * std::sqrt(variance_);
    }
  }

 private:
  double gain_;
  bool first_ = true;
  double mean_ = 0;
  double variance_ = 0;
};

}  // namespace

std::unique_ptr<Method> make_last_margin() {
  return std::make_unique<LastMargin>();
}

std::unique_ptr<Method> make_window_max() {
  return std::make_unique<WindowMax>();
}

std::unique_ptr<Method> make_window_percentile(std::size_t size) {
  return std::make_unique<WindowPercentile>(size);
}

std::unique_ptr<Method> make_decaying_histogram(double scale, double half_life,
                                                double margin) {
  return std::make_unique<DecayingHistogram>(scale, half_life, margin);
}

std::unique_ptr<Method> make_n_sigma(double gain) {
  return std::make_unique<NSigma>(gain);
}

}  // namespace outrider::eval
