// SPDX-License-Identifier: Apache-2.0
#include "agent/horizon/pattern.h"

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <vector>

namespace outrider {
namespace {

// A season explains at least this share of the variance.
constexpr double kLikenessMin = 0.2;
// ... and is so many standard deviations from chance: the best of many lags.
constexpr double kDeviationsMin = 4;
// Multiples of a period are as like as itself: the first peak nearly as high as
// the best is the period.
constexpr double kNearlyBest = 0.9;
constexpr std::size_t kHeldMin = 96;

constexpr std::size_t kTrendPoints = 512;
constexpr double kTrendZ = 2.576;  // two-sided, 1 %

constexpr double kMadOfSigma = 0.6745;
constexpr double kOdd = 5;            // deviations
constexpr std::size_t kLearned = 16;  // errors before anything is said
constexpr double kMiddleGain = 0.02;  // in spreads, a step
constexpr double kSpreadGain = 0.04;
// CUSUM: finds a shift of one deviation within some 16 steps, and takes noise
// for one once in 10,000 (Siegmund 1985).
constexpr double kSlack = 0.5;
constexpr double kDecide = 8;
constexpr double kClip = 4;  // deviations: one odd value is no shift

/// By lag, 0 to `lags`; empty if the series does not vary.
std::vector<double> autocorrelation(std::span<const double> values,
                                    std::size_t lags) {
  const auto size = static_cast<Eigen::Index>(values.size());
  Eigen::VectorXd off = Eigen::Map<const Eigen::VectorXd>(values.data(), size);
  off.array() -= off.mean();
  const double variance = off.squaredNorm() / static_cast<double>(size);
  const double scale = std::abs(values.front()) + std::abs(values.back());
  if (!(variance > 1e-18 * (1 + scale * scale))) return {};
  std::vector<double> r;
  for (std::size_t lag = 0; lag <= lags; ++lag) {
    const Eigen::Index pairs = size - static_cast<Eigen::Index>(lag);
    r.push_back(off.head(pairs).dot(off.tail(pairs)) /
                (static_cast<double>(pairs) * variance));
  }
  return r;
}

bool is_peak(const std::vector<double>& r, std::size_t lag) {
  return r[lag] >= r[lag - 1] && r[lag] > r[lag + 1];
}

double median(std::vector<double>& values) {
  const auto middle = values.begin() + static_cast<long>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

std::size_t find_season(std::span<const double> values) {
  if (values.size() < kHeldMin) return 0;
  const std::size_t longest = values.size() / 3;
  const std::vector<double> r = autocorrelation(values, longest + 1);
  if (r.empty()) return 0;
  // Behind the main lobe, which also says how much chance can do.
  double lobe = 1;
  std::size_t first = 1;
  for (; first < longest && r[first] > kLikenessMin / 2; ++first) {
    lobe += 2 * r[first] * r[first];
  }
  first = std::max<std::size_t>(first, 2);
  const double pairs = static_cast<double>(values.size()) * 2 / 3;
  const double least =
      std::max(kLikenessMin, kDeviationsMin * std::sqrt(lobe / pairs));
  double best = 0;
  for (std::size_t lag = first; lag <= longest; ++lag) {
    if (is_peak(r, lag)) best = std::max(best, r[lag]);
  }
  if (best < least) return 0;
  for (std::size_t lag = first; lag <= longest; ++lag) {
    if (is_peak(r, lag) && r[lag] >= kNearlyBest * best) return lag;
  }
  return 0;
}

Trend find_trend(std::span<const double> values) {
  const std::size_t stride = values.size() / kTrendPoints + 1;
  std::vector<double> picked;
  for (std::size_t i = 0; i < values.size(); i += stride) {
    picked.push_back(values[i]);
  }
  const auto n = static_cast<double>(picked.size());
  if (picked.size() < 8) return {};
  double score = 0;
  std::vector<double> slopes;
  for (std::size_t i = 0; i < picked.size(); ++i) {
    for (std::size_t k = i + 1; k < picked.size(); ++k) {
      const double rise = picked[k] - picked[i];
      score += rise > 0 ? 1 : rise < 0 ? -1 : 0;
      slopes.push_back(rise / static_cast<double>((k - i) * stride));
    }
  }
  const double variance = n * (n - 1) * (2 * n + 5) / 18;
  const double z = (std::abs(score) - 1) / std::sqrt(variance);
  return {.slope = median(slopes), .is_one = z > kTrendZ};
}

AnomalyDetector::Verdict AnomalyDetector::observe(double error) {
  if (!std::isfinite(error)) return {};
  if (seen_ == 0) middle_ = error;
  ++seen_;
  const double away = std::abs(error - middle_);
  const double sigma = spread_ / kMadOfSigma;
  const double z = sigma > 0 ? (error - middle_) / sigma : 0;
  Verdict verdict{.z = z};
  // A step up and a step down are as long: both settle where half is on either
  // side. Young, they move faster.
  const double hurry = 1 + 16 / static_cast<double>(seen_);
  if (spread_ == 0) spread_ = away;
  const double step = spread_ * hurry;
  spread_ += kSpreadGain * (away > spread_ ? step : -step);
  spread_ = std::max(spread_, 0.0);
  middle_ += kMiddleGain * (error > middle_ ? step : -step);
  if (seen_ <= kLearned) return verdict;
  verdict.is_odd = std::abs(z) > kOdd;
  const double clipped = std::clamp(z, -kClip, kClip);
  above_ = std::max(0.0, above_ + clipped - kSlack);
  below_ = std::max(0.0, below_ - clipped - kSlack);
  if (above_ > kDecide) verdict.shift = 1;
  if (below_ > kDecide) verdict.shift = -1;
  if (verdict.shift != 0) above_ = below_ = 0;
  return verdict;
}

}  // namespace outrider
