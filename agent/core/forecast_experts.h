// SPDX-License-Identifier: Apache-2.0
// Point forecasts of the peak over the next horizon: simple ones, each right
// where the others are not.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "agent/core/auto_regression.h"

namespace outrider {

inline constexpr std::size_t kHorizonMax = 12;  // steps

enum class Expert : std::uint8_t {
  kTrailing,  // the next horizon's peak is the last one's
  kEwma,      // it goes back to its mean
  kHolt,      // it goes on as it went, less and less so
  kAr,        // it follows from the last two steps
  kQuantile,  // it is as distributed as ever
  // While a season is believed in (season_experts.h):
  kSeason,      // the mean of the last periods, and what is off that by now
  kSeasonPeak,  // the peak of most of them, a step early and late; where it is
                // above that by now, it is no less than now
  kRegression,  // linear, for each quantile: expert_mix.h
};
inline constexpr std::size_t kExperts = 8;
inline constexpr std::size_t kPoints = 7;  // all but kRegression tell a point
inline constexpr std::size_t kPointsUnseasonal = 5;
inline constexpr std::size_t kPointsSeasonal = kPoints - kPointsUnseasonal;

// Of demand, and at all: what is less is taken for nothing.
inline constexpr float kUnitLeast = 1e-18F;

/// What is known of a series at one step, whatever its season. One of each step
/// that waits for its truth is kept: only what the rest follows from.
struct View {
  // By Expert, but kQuantile's, which is always nothing; none is below that.
  std::array<float, kPointsUnseasonal - 1> points{};
  float unit = kUnitLeast;  // the long mean, or a trace of the top
  float recent_peak = 0;    // of the last horizon, and a little before
  float last = 0;
  float before = 0;      // the last
  float turbulence = 0;  // mean change from step to step

  /// Shape: below kPointsUnseasonal.
  float point(std::size_t expert) const {
    return expert < points.size() ? points[expert] : 0;
  }
  /// Whether it may have come about: of bytes from elsewhere.
  bool is_sound() const;
};

/// What a season that is believed in adds to a View.
struct SeasonView {
  std::array<float, kPointsSeasonal> points{};  // kSeason, kSeasonPeak
  float expected = 0;  // for the last step, by the mean of the periods before
  // As PeriodsAgo.
  float mean_next = 0;
  float peak_next = 0;

  /// Whether it may have come about: of bytes from elsewhere.
  bool is_sound() const;
};

/// What a forecast goes by.
struct Grounds {
  const View& view;
  const SeasonView* season = nullptr;  // none was believed in
};

/// What the experts that need no season know of one series.
/// Property: of any unit; twice the demand is twice the points.
/// Invariant: a trivially copyable value; allocates nothing; finite.
class Experts {
 public:
  /// The first value of a series, before it is observed. `most`: what the next
  /// ones are taken to reach.
  void start(float demand, float most);
  /// The next step's demand. Shape: not negative, at most 1e15. A step of
  /// which nothing was seen is none: the levels hold.
  void observe(float demand);

  /// As of the last step. `trailing`: the peak of the last horizon.
  View view(std::size_t horizon, float trailing) const;

  /// Whether they may have come about: of bytes from elsewhere.
  bool is_sound() const;

  float last() const { return last_; }
  /// The long mean, or a trace of the top; above 0.
  float unit() const;
  float top() const { return top_; }  // about the peak of ten thousand steps

 private:
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
};

}  // namespace outrider
