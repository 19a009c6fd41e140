// SPDX-License-Identifier: Apache-2.0
// Does a series repeat itself, after how many steps, and what did it do then?
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "agent/core/forecaster.h"

namespace outrider {

/// The last steps of a series and the period found in them.
///
/// Two steps `lag` apart differ, in the mean square, by twice the variance
/// where they have nothing in common and by nothing where the series repeats:
/// r(lag) = 1 - difference / (2 variance), the autocorrelation of a series
/// that is stationary. A season is a local maximum of r that stands out of what
/// chance gives a series as smooth as this one (Bartlett's variance of r, from
/// the main lobe), and that is found again at twice the lag.
///
/// Invariant: a trivially copyable value; allocates nothing; `sum` and
/// `squares` are those of the steps held.
class Season {
 public:
  static constexpr std::size_t kSteps = 512;   // held
  static constexpr std::size_t kLagMax = 168;  // a third: seen three times

  /// The next step. Shape: in units of its caller's choice, of 16 bits.
  void push(std::uint16_t value);

  /// As Forecaster::prefetch.
  void prefetch() const {
    __builtin_prefetch(&sum_, 1);
    __builtin_prefetch(&ring_[count_ & kMask], 1);
    __builtin_prefetch(&count_, 1);
  }

  /// A bounded piece of the search: a few lags. After the last it decides, and
  /// begins anew when enough is new. `lag_min`: shorter periods are none.
  /// `likely`: where it takes half the evidence, and none at twice the lag, as
  /// others have it.
  void ponder(std::size_t lag_min, LikelyPeriod likely);

  /// In steps; 0 while no season is believed in.
  float period() const { return period_; }

  /// The peak of the `horizon` steps after the last, as the periods before had
  /// it: the middle one of three, the larger of two. Asks for a season.
  /// Property: each window is wider by a step on either side, for a phase that
  /// is known to a step only.
  std::uint16_t peak_ahead(std::size_t horizon) const;

 private:
  static constexpr std::size_t kMask = kSteps - 1;
  static constexpr std::size_t kLagsAtOnce = 4;
  static constexpr float kRUnit = 30'000;  // is 1 in r_
  static_assert((kSteps & kMask) == 0);

  std::size_t held() const { return count_ < kSteps ? count_ : kSteps; }
  std::uint16_t ago(std::size_t steps) const {
    return ring_[(count_ - 1 - steps) & kMask];
  }
  std::uint16_t peak_between(std::size_t oldest, std::size_t newest) const;
  float likeness(std::size_t lag) const;
  float r(std::size_t lag) const { return r_[lag] / kRUnit; }
  float chance() const;
  float ease() const;
  bool is_peak(std::size_t lag) const;
  std::size_t find_lag(float at_least) const;
  float top_near(std::size_t lag) const;
  float refine(std::size_t lag) const;
  float best_of(LikelyPeriod likely, float at_least) const;
  void decide(LikelyPeriod likely);

  std::uint64_t sum_ = 0;
  std::uint64_t squares_ = 0;
  std::array<std::uint16_t, kSteps> ring_{};
  std::array<std::int16_t, kLagMax + 4> r_{};  // by lag, of this search
  std::uint32_t count_ = 0;    // pushed; its low bits are where the next goes
  std::uint32_t decided_ = 0;  // count_ at that time
  std::uint16_t next_lag_ = 1;
  std::uint16_t lag_min_ = 1;
  float period_ = 0;
};

}  // namespace outrider
