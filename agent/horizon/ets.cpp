// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <limits>

#include "agent/horizon/model.h"

namespace outrider {
namespace {

constexpr double kDamping = 0.95;
constexpr std::array<double, 5> kLevelGains = {0.02, 0.08, 0.2, 0.45, 0.8};
constexpr std::array<double, 3> kSlopeGains = {0, 0.01, 0.08};
constexpr std::array<double, 3> kSeasonGains = {0.03, 0.12, 0.3};

struct Gains {
  double level = kLevelGains[2];
  double slope = 0;
  double season = 0;
};

/// Level, slope and season after some steps.
class State {
 public:
  /// The first two seasons give the first profile, or the first value a level.
  explicit State(const History& history) : seasonal_(history.season) {
    const auto values = history.values;
    level_ = values.front();
    if (seasonal_.empty()) return;
    const std::size_t season = seasonal_.size();
    double sum = 0;
    for (std::size_t i = 0; i < 2 * season; ++i) sum += values[i];
    level_ = sum / static_cast<double>(2 * season);
    for (std::size_t i = 0; i < season; ++i) {
      seasonal_[i] = (values[i] + values[i + season]) / 2 - level_;
    }
  }

  double expected() const { return level_ + kDamping * slope_ + seasonal(0); }

  void observe(double value, const Gains& gains) {
    const double error = value - expected();
    slope_ *= kDamping;
    level_ += slope_ + gains.level * error;
    slope_ += gains.slope * error;
    if (seasonal_.empty()) return;
    seasonal_[next_] += gains.season * error;
    next_ = (next_ + 1) % seasonal_.size();
  }

  void forecast(std::span<double> ahead) const {
    double reach = 0;
    double damping = kDamping;
    for (std::size_t i = 0; i < ahead.size(); ++i) {
      reach += damping;
      damping *= kDamping;
      ahead[i] = level_ + reach * slope_ + seasonal(i);
    }
  }

 private:
  double seasonal(std::size_t steps) const {
    if (seasonal_.empty()) return 0;
    return seasonal_[(next_ + steps) % seasonal_.size()];
  }

  double level_ = 0;
  double slope_ = 0;
  std::vector<double> seasonal_;
  std::size_t next_ = 0;
};

double squared_error(const History& history, const Gains& gains) {
  State state{history};
  double sum = 0;
  for (const double value : history.values) {
    const double error = value - state.expected();
    sum += error * error;
    state.observe(value, gains);
  }
  return sum;
}

Gains best_gains(const History& history) {
  Gains best;
  double least = std::numeric_limits<double>::infinity();
  for (const double level : kLevelGains) {
    for (const double slope : kSlopeGains) {
      for (const double season : kSeasonGains) {
        const Gains gains{level, slope, history.season > 0 ? season : 0};
        const double error = squared_error(history, gains);
        if (error < least) {
          least = error;
          best = gains;
        }
        if (history.season == 0) break;
      }
    }
  }
  return best;
}

class Ets : public HorizonModel {
 public:
  const char* name() const override { return "ets"; }

  void fit(const History& history) override {
    gains_ = best_gains(history);
    state_ = State{history};
    for (const double value : history.values) state_.observe(value, gains_);
  }

  void observe(double value) override { state_.observe(value, gains_); }

  void forecast(std::span<double> ahead) const override {
    state_.forecast(ahead);
  }

 private:
  static constexpr std::array<double, 1> kNothing = {0};

  Gains gains_;
  State state_{History{.values = kNothing, .season = 0}};
};

}  // namespace

std::unique_ptr<HorizonModel> make_ets() { return std::make_unique<Ets>(); }

}  // namespace outrider
