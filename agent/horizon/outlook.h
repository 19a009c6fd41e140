// SPDX-License-Identifier: Apache-2.0
// One series' long horizon: all models side by side, each scored by what came,
// and the one used that has been best.
#pragma once

#include <array>
#include <cstddef>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/horizon/model.h"

namespace outrider {

/// Where forecasts are scored, in steps ahead. Between them figures are those
/// of the next one.
inline constexpr std::array<std::size_t, 5> kScoredAhead = {1, 12, 48, 144,
                                                            288};

struct OutlookOptions {
  std::size_t history_max = 4032;  // steps: 14 days of 5 minutes
  std::size_t history_min = 64;    // before the first fit
  std::size_t refit_every = 288;
  std::size_t score_every = 12;  // steps from one scored forecast to the next
  double coverage = 0.8;         // of the intervals
  // Nothing further ahead is asked for: it need not be scored.
  std::size_t ahead_max = kScoredAhead.back();
  std::vector<HorizonModelType> models{kHorizonModelTypes.begin(),
                                       kHorizonModelTypes.end()};
};

/// What a model says of one step ahead. Invariant: low <= point <= high; none
/// is negative; all finite.
struct Interval {
  double low = 0;
  double point = 0;
  double high = 0;
};

/// What HorizonScore::model is for the weighted mean of all models ...
inline constexpr const char* kCombined = "combined";
/// ... and for what was used, whichever that was.
inline constexpr const char* kChosen = "chosen";

/// How a model has done at one distance.
struct HorizonScore {
  const char* model = "";
  std::size_t ahead = 0;
  std::size_t count = 0;    // forecasts that came due
  std::size_t judged = 0;   // of these, had an interval
  double error = 0;         // mean absolute, of all
  double recent_error = 0;  // the same, forgetting
  double mean = 0;          // of the values that came
  double covered = 0;       // share of values within their interval
  double held = 0;          // share of values not above its upper end
  bool chosen = false;      // the next forecast is of this model
};

/// Deterministic. Not for the control loop: a fit takes milliseconds.
class Outlook {
 public:
  explicit Outlook(OutlookOptions options = {});

  /// The next step; NaN: missing, it is taken to be as the step before, and no
  /// forecast is scored by it.
  void observe(double value);

  /// Of the model that is used at that distance; none before the first fit.
  /// Shape: `ahead` is at most the options' ahead_max.
  std::optional<Interval> forecast(std::size_t ahead) const;
  std::vector<HorizonScore> scores() const;
  /// That the last fit found, in steps; 0: none.
  std::size_t season() const { return season_; }

 private:
  static constexpr std::size_t kErrorsKept = 168;

  struct Pending {
    std::size_t due = 0;  // the step it is about
    Interval interval;
    bool has_interval = false;  // or too little was known for one
  };
  /// One model at one distance.
  struct Track {
    std::deque<Pending> pending;
    std::deque<double> errors;  // value - point, of late
    double miss = 0.2;          // share that the interval is asked to leave out
    std::size_t count = 0;
    std::size_t judged = 0;  // of these, had an interval
    std::size_t covered = 0;
    std::size_t held = 0;
    double value_sum = 0;
    double error_sum = 0;
    double recent_error = 0;

    void settle(std::size_t step, double value, double miss_wanted);
    Interval around(double point) const;
    void tell(std::size_t due, double point);
    HorizonScore score(const char* model, std::size_t ahead) const;
  };
  /// All that are held against each other at one of kScoredAhead. Shape: the
  /// models, as in models_, and last their mean.
  struct Distance {
    std::size_t steps = 0;
    std::vector<Track> contenders;
    Track used;  // as forecast() had it
    std::size_t chosen = 0;

    double combined(std::span<const double> points) const;
    void choose();
  };

  void settle(double value);
  void fit();
  void foresee();
  std::vector<std::vector<double>> look_ahead(std::size_t steps) const;
  std::vector<double> points_at(const Distance& distance,
                                const std::vector<std::vector<double>>& ahead,
                                std::size_t step) const;

  OutlookOptions options_;
  std::vector<std::unique_ptr<HorizonModel>> models_;
  std::vector<double> history_;
  std::size_t step_ = 0;
  std::size_t fitted_at_ = 0;  // 0: never
  std::size_t season_ = 0;
  std::vector<Distance> distances_;  // up to the first not below ahead_max
};

}  // namespace outrider
