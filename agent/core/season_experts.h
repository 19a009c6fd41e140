// SPDX-License-Identifier: Apache-2.0
// The experts that go by what a series did a period ago.
#pragma once

#include <cstddef>

#include "agent/core/forecast_experts.h"
#include "agent/core/season.h"
#include "agent/core/season_search.h"

namespace outrider {

/// The season of one series, and where the series is in it. Apart from Experts:
/// while no season is believed in, a step goes into its memory and touches
/// nothing else.
/// Property: of any unit, as Experts.
/// Invariant: a trivially copyable value; allocates nothing; finite.
class SeasonExperts {
 public:
  /// The next step's demand. Shape: as Experts::observe.
  void observe(float demand, std::size_t horizon);
  /// A step of which nothing was seen: time goes on. `last`: what was seen
  /// last, which holds.
  void skip(float last, std::size_t horizon);

  /// As of the last step, of which `view` is. Asks for a season.
  SeasonView view(const View& view) const;

  /// In steps; 0 while no season is believed in.
  float period() const { return season_.period(); }
  /// As Forecaster::ponder.
  bool ponder(SeasonSearch& search, std::size_t horizon, LikelyPeriod likely);
  /// As Forecaster::prefetch.
  void prefetch() const;
  /// Whether they may have come about: of bytes from elsewhere.
  bool is_sound() const;

 private:
  void follow(float demand);
  void push(float demand, std::size_t horizon);
  float point() const;
  float peak_point(const View& view) const;

  Season season_;
  PeriodsAgo periods_{};  // as of the last step
  float expected_ = -1;   // as SeasonView; below 0: nothing was
  float off_ = 0;         // the last step, from that
  // What is left of that after a step: a ratio.
  float off_by_off_ = 0;
  float off_squared_ = 0;
};

}  // namespace outrider
