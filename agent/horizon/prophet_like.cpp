// SPDX-License-Identifier: Apache-2.0
#include <Eigen/Dense>
#include <algorithm>
#include <cmath>
#include <numbers>

#include "agent/horizon/model.h"

namespace outrider {
namespace {

constexpr std::size_t kHarmonics = 8;      // of the season
constexpr std::size_t kLongHarmonics = 3;  // of seven seasons, if it is day
constexpr std::size_t kSeasonsInLong = 7;
constexpr std::size_t kChangePoints = 8;
constexpr double kHalfLife = 0.35;  // of the history's length
constexpr double kTrendRidge = 0.02;
constexpr double kSeasonRidge = 1e-4;
constexpr double kTrendDamping = 0.99;  // a step, of the trend's last slope
constexpr double kErrorDamping = 0.9;   // a step, of what is off now

/// The columns of the regression at one step.
class Design {
 public:
  explicit Design(const History& history)
      : length_(static_cast<double>(history.values.size())),
        season_(static_cast<double>(history.season)),
        has_long_(history.season > 0 &&
                  history.values.size() >=
                      2 * kSeasonsInLong * history.season) {}

  std::size_t columns() const { return trend_columns() + season_columns(); }
  static std::size_t trend_columns() { return 2 + kChangePoints; }

  /// Beyond the end of the history the trend's slope dies out.
  void fill(double step, Eigen::VectorXd& row) const {
    const double past_end = std::max(step - (length_ - 1), 0.0);
    const double reach =
        past_end > 0
            ? (1 - std::pow(kTrendDamping, past_end)) / (1 - kTrendDamping)
            : 0;
    const double at = std::min(step, length_ - 1) + reach;
    row(0) = 1;
    row(1) = at / length_;
    for (std::size_t i = 0; i < kChangePoints; ++i) {
      const double change = length_ * static_cast<double>(i + 1) /
                            static_cast<double>(kChangePoints + 2);
      row(2 + static_cast<long>(i)) = std::max(at - change, 0.0) / length_;
    }
    auto column = static_cast<long>(trend_columns());
    if (season_ > 0) fill_waves(step / season_, kHarmonics, row, column);
    if (has_long_) {
      fill_waves(step / (season_ * kSeasonsInLong), kLongHarmonics, row,
                 column);
    }
  }

 private:
  std::size_t season_columns() const {
    return (season_ > 0 ? 2 * kHarmonics : 0) +
           (has_long_ ? 2 * kLongHarmonics : 0);
  }

  static void fill_waves(double turns, std::size_t harmonics,
                         Eigen::VectorXd& row, long& column) {
    for (std::size_t k = 1; k <= harmonics; ++k) {
      const double angle =
          2 * std::numbers::pi * turns * static_cast<double>(k);
      row(column++) = std::sin(angle);
      row(column++) = std::cos(angle);
    }
  }

  double length_;
  double season_;
  bool has_long_;
};

class ProphetLike : public HorizonModel {
 public:
  const char* name() const override { return "prophet-like"; }

  void fit(const History& history) override {
    design_ = Design{history};
    step_ = history.values.size();
    const auto columns = static_cast<long>(design_.columns());
    Eigen::MatrixXd normal = Eigen::MatrixXd::Zero(columns, columns);
    Eigen::VectorXd right = Eigen::VectorXd::Zero(columns);
    Eigen::VectorXd row(columns);
    double weights = 0;
    for (std::size_t i = 0; i < step_; ++i) {
      design_.fill(static_cast<double>(i), row);
      const double age = static_cast<double>(step_ - i) /
                         (kHalfLife * static_cast<double>(step_));
      const double weight = std::exp2(-age);
      normal.selfadjointView<Eigen::Lower>().rankUpdate(row, weight);
      right += weight * history.values[i] * row;
      weights += weight;
    }
    for (long i = 1; i < columns; ++i) {
      const bool is_trend = i < static_cast<long>(Design::trend_columns());
      normal(i, i) += weights * (is_trend ? kTrendRidge : kSeasonRidge);
    }
    found_ = normal.selfadjointView<Eigen::Lower>().ldlt().solve(right);
    error_ = history.values.back() - at(step_ - 1);
  }

  void observe(double value) override {
    error_ = value - at(step_);
    ++step_;
  }

  void forecast(std::span<double> ahead) const override {
    double error = error_;
    for (std::size_t i = 0; i < ahead.size(); ++i) {
      error *= kErrorDamping;
      ahead[i] = at(step_ + i) + error;
    }
  }

 private:
  double at(std::size_t step) const {
    Eigen::VectorXd row(found_.size());
    design_.fill(static_cast<double>(step), row);
    return row.dot(found_);
  }

  Design design_{History{}};
  Eigen::VectorXd found_;
  std::size_t step_ = 0;
  double error_ = 0;  // of the last value
};

}  // namespace

std::unique_ptr<HorizonModel> make_prophet_like() {
  return std::make_unique<ProphetLike>();
}

}  // namespace outrider
