// SPDX-License-Identifier: Apache-2.0
#include <Eigen/Dense>
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "agent/horizon/model.h"

namespace outrider {
namespace {

constexpr std::size_t kArMax = 3;
constexpr std::size_t kMaMax = 2;
constexpr std::size_t kLongAr = 16;      // of the first regression
constexpr double kKpss5Percent = 0.463;  // Kwiatkowski and others 1992, table 1
constexpr double kRidge = 1e-6;          // of the variance: keeps it solvable

struct Order {
  std::size_t ar = 0;
  std::size_t ma = 0;
};

double mean_of(std::span<const double> values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

/// The KPSS statistic of level stationarity, with Newey and West's variance.
double kpss(std::span<const double> values) {
  const auto count = static_cast<double>(values.size());
  const double mean = mean_of(values);
  const auto lags = static_cast<std::size_t>(4 * std::pow(count / 100, 0.25));
  double partial = 0;
  double sum = 0;
  double variance = 0;
  for (const double value : values) {
    partial += value - mean;
    sum += partial * partial;
    variance += (value - mean) * (value - mean);
  }
  for (std::size_t lag = 1; lag <= lags && lag < values.size(); ++lag) {
    double product = 0;
    for (std::size_t i = lag; i < values.size(); ++i) {
      product += (values[i] - mean) * (values[i - lag] - mean);
    }
    const double weight =
        1 - static_cast<double>(lag) / static_cast<double>(lags + 1);
    variance += 2 * weight * product;
  }
  return variance > 0 ? sum / (count * variance) : 0;
}

/// The mean of each phase of a season, about the mean of all.
std::vector<double> profile_of(const History& history) {
  std::vector<double> profile(history.season);
  if (profile.empty()) return profile;
  std::vector<double> counts(history.season);
  const double mean = mean_of(history.values);
  const std::size_t count = history.values.size();
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t phase = i % history.season;
    profile[phase] += history.values[i] - mean;
    counts[phase] += 1;
  }
  for (std::size_t i = 0; i < profile.size(); ++i) profile[i] /= counts[i];
  return profile;
}

Eigen::VectorXd solve(const Eigen::MatrixXd& rows,
                      const Eigen::VectorXd& want) {
  Eigen::MatrixXd normal = rows.transpose() * rows;
  normal.diagonal().array() +=
      kRidge * (normal.trace() / static_cast<double>(normal.rows())) + 1e-12;
  return normal.ldlt().solve(rows.transpose() * want);
}

/// What a long autoregression leaves over: stands for the shocks.
std::vector<double> shocks_of(std::span<const double> series) {
  const std::size_t count = series.size() - kLongAr;
  Eigen::MatrixXd rows(count, kLongAr);
  Eigen::VectorXd want(count);
  for (std::size_t i = 0; i < count; ++i) {
    for (std::size_t lag = 0; lag < kLongAr; ++lag) {
      rows(i, lag) = series[i + kLongAr - 1 - lag];
    }
    want(i) = series[i + kLongAr];
  }
  const Eigen::VectorXd left = want - rows * solve(rows, want);
  std::vector<double> shocks(series.size(), 0);
  for (std::size_t i = 0; i < count; ++i) shocks[i + kLongAr] = left(i);
  return shocks;
}

/// Coefficients of an order, and how well it does for its size.
struct Fit {
  Order order;
  std::vector<double> ar;
  std::vector<double> ma;
  double aicc = std::numeric_limits<double>::infinity();
};

Fit fit_order(std::span<const double> series, std::span<const double> shocks,
              Order order) {
  Fit fit{.order = order, .ar = {}, .ma = {}, .aicc = 0};
  const std::size_t begin = kLongAr + std::max(kArMax, kMaMax);
  const std::size_t count = series.size() - begin;
  const std::size_t terms = order.ar + order.ma;
  Eigen::VectorXd want(count);
  Eigen::MatrixXd rows(count, terms);
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t now = begin + i;
    want(i) = series[now];
    for (std::size_t k = 0; k < order.ar; ++k) rows(i, k) = series[now - 1 - k];
    for (std::size_t k = 0; k < order.ma; ++k) {
      rows(i, order.ar + k) = shocks[now - 1 - k];
    }
  }
  double squares = want.squaredNorm();
  if (terms > 0) {
    const Eigen::VectorXd found = solve(rows, want);
    squares = (want - rows * found).squaredNorm();
    fit.ar.assign(found.data(), found.data() + order.ar);
    fit.ma.assign(found.data() + order.ar, found.data() + terms);
  }
  const auto n = static_cast<double>(count);
  const auto k = static_cast<double>(terms + 1);
  fit.aicc = n * std::log(squares / n + 1e-300) + 2 * k +
             2 * k * (k + 1) / (n - k - 1);
  return fit;
}

/// Whether x[i] = c[0] x[i-1] + c[1] x[i-2] + ... dies out.
bool dies_out(std::span<const double> coefficients, double sign) {
  std::array<double, 64> answer{1};
  double late = 0;
  for (std::size_t i = 1; i < answer.size(); ++i) {
    for (std::size_t k = 0; k < coefficients.size() && k < i; ++k) {
      answer[i] += sign * coefficients[k] * answer[i - 1 - k];
    }
    if (i >= 48) late = std::max(late, std::abs(answer[i]));
  }
  return late < 1;
}

/// A forecast may not run away (stationary), nor what is taken for the shocks
/// (invertible).
bool is_stable(const Fit& fit) {
  return dies_out(fit.ar, 1) && dies_out(fit.ma, -1);
}

Fit best_fit(std::span<const double> series) {
  const std::vector<double> shocks = shocks_of(series);
  Fit best = fit_order(series, shocks, {});
  for (std::size_t ar = 0; ar <= kArMax; ++ar) {
    for (std::size_t ma = 0; ma <= kMaMax; ++ma) {
      Fit fit = fit_order(series, shocks, {ar, ma});
      if (fit.aicc < best.aicc && is_stable(fit)) best = std::move(fit);
    }
  }
  return best;
}

class Arima : public HorizonModel {
 public:
  const char* name() const override { return "arima"; }

  void fit(const History& history) override {
    profile_ = profile_of(history);
    phase_ = 0;
    std::vector<double> series;
    for (const double value : history.values) series.push_back(level_of(value));
    differenced_ = series.size() > 2 && kpss(series) > kKpss5Percent;
    last_ = series.back();
    if (differenced_) {
      for (std::size_t i = series.size() - 1; i > 0; --i) {
        series[i] -= series[i - 1];
      }
      series.erase(series.begin());
    }
    // A differenced series has no mean: a drift would run for days.
    mean_ = differenced_ ? 0 : mean_of(series);
    for (double& value : series) value -= mean_;
    fit_ = series.size() > 4 * kLongAr ? best_fit(series) : Fit{};
    past_.assign(kArMax, 0);
    shocks_.assign(kMaMax, 0);
    const std::size_t warm = std::min<std::size_t>(series.size(), 64);
    for (std::size_t i = series.size() - warm; i < series.size(); ++i) {
      advance(series[i]);
    }
  }

  void observe(double value) override {
    const double level = level_of(value);
    advance((differenced_ ? level - last_ : level) - mean_);
    last_ = level;
  }

  void forecast(std::span<double> ahead) const override {
    std::vector<double> past = past_;
    std::vector<double> shocks = shocks_;
    double level = last_;
    for (std::size_t i = 0; i < ahead.size(); ++i) {
      const double next = expected(past, shocks);
      push(past, next);
      push(shocks, 0);
      level = differenced_ ? level + next : next + mean_;
      ahead[i] = level + profile_at(i);
    }
  }

 private:
  static void push(std::vector<double>& newest_first, double value) {
    std::rotate(newest_first.begin(), newest_first.end() - 1,
                newest_first.end());
    newest_first.front() = value;
  }

  double expected(const std::vector<double>& past,
                  const std::vector<double>& shocks) const {
    double sum = 0;
    for (std::size_t k = 0; k < fit_.ar.size(); ++k)
      sum += fit_.ar[k] * past[k];
    for (std::size_t k = 0; k < fit_.ma.size(); ++k) {
      sum += fit_.ma[k] * shocks[k];
    }
    return sum;
  }

  void advance(double value) {
    push(shocks_, value - expected(past_, shocks_));
    push(past_, value);
  }

  double profile_at(std::size_t steps) const {
    return profile_.empty() ? 0 : profile_[(phase_ + steps) % profile_.size()];
  }

  /// Without the season; steps to the next phase.
  double level_of(double value) {
    const double level = value - profile_at(0);
    if (!profile_.empty()) phase_ = (phase_ + 1) % profile_.size();
    return level;
  }

  std::vector<double> profile_;
  std::size_t phase_ = 0;
  bool differenced_ = false;
  double mean_ = 0;
  double last_ = 0;
  Fit fit_;
  std::vector<double> past_;    // newest first
  std::vector<double> shocks_;  // likewise
};

}  // namespace

std::unique_ptr<HorizonModel> make_arima() { return std::make_unique<Arima>(); }

}  // namespace outrider
