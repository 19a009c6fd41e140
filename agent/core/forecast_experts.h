// SPDX-License-Identifier: Apache-2.0
// Point forecasts of the peak over the next horizon: simple ones, each right
// where the others are not.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "agent/core/auto_regression.h"
#include "agent/core/quad.h"
#include "agent/core/season.h"
#include "agent/core/season_search.h"

namespace outrider {

inline constexpr std::size_t kHorizonMax = 12;  // steps

enum class Expert : std::uint8_t {
  kTrailing,  // the next horizon's peak is the last one's
  kEwma,      // it goes back to its mean
  kHolt,      // it goes on as it went, less and less so
  kAr,        // it follows from the last two steps
  kQuantile,  // it is as distributed as ever
  // While a season is believed in:
  kSeason,      // the mean of the last periods, and what is off that by now
  kSeasonPeak,  // the peak of most of them, a step early and late; where it is
                // above that by now, it is no less than now
  kRegression,  // linear, for each quantile: expert_mix.h
};
inline constexpr std::size_t kExperts = 8;
inline constexpr std::size_t kPoints = 7;  // all but kRegression tell a point
inline constexpr std::size_t kPointsUnseasonal = 5;
inline constexpr std::size_t kFeatures = 8;

/// What is known of a series at one step.
struct View {
  std::array<float, kPoints> points{};  // by Expert; no point is below nothing
  std::uint32_t count = kPointsUnseasonal;  // of the points that are told
  float unit = 0;                           // the long mean; above 0
  float recent_peak = 0;  // of the last horizon, and a little before
  std::array<float, kFeatures> features{};  // of the regression, by unit

  /// Whether it may have come about: of bytes from elsewhere.
  bool is_sound() const;
};

/// What the experts know of one series.
/// Property: of any unit; twice the demand is twice the points.
/// Invariant: a trivially copyable value; allocates nothing; finite.
class Experts {
 public:
  /// The first value of a series, before it is observed. `most`: what the next
  /// ones are taken to reach.
  void start(float demand, float most);
  /// The next step's demand. Shape: not negative, at most 1e15.
  void observe(float demand, std::size_t horizon);
  /// A step of which nothing was seen: time goes on, the levels hold.
  void skip(std::size_t horizon);

  /// As of the last step. `trailing`: the peak of the last horizon.
  View view(std::size_t horizon, float trailing) const;

  /// As Forecaster::prefetch.
  void prefetch() const;
  /// Whether they may have come about: of bytes from elsewhere.
  bool is_sound() const;

  float last() const { return last_; }
  /// The long mean, or a trace of the top; above 0.
  float unit() const;
  float top() const { return top_; }  // about the peak of ten thousand steps
  float period() const { return season_.period(); }
  /// As Forecaster::ponder.
  bool ponder(SeasonSearch& search, std::size_t horizon, LikelyPeriod likely) {
    return search.ponder(season_, horizon + 2, likely);
  }

 private:
  void follow_season(float demand);
  void push(float demand, std::size_t horizon);
  bool is_seasonal() const { return periods_.mean_step >= 0; }
  float season_point() const;
  float season_peak_point() const;

  AutoRegression ar_;
  float last_ = 0;
  float before_ = 0;  // the last
  float ewma_ = 0;
  float level_ = 0;  // Holt's
  float slope_ = 0;
  float mean_ = 0;        // long
  float turbulence_ = 0;  // mean change from step to step
  float recent_ = 0;      // peak, soon forgotten
  float top_ = 0;
  float expected_ = 0;  // for the last step, by the mean of the periods before
  float off_season_ = 0;  // the last step, from that
  // What is left of that after a step: a ratio.
  float off_by_off_ = 0;
  float off_squared_ = 0;
  PeriodsAgo periods_{};
  Season season_;
};

}  // namespace outrider
