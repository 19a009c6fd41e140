// SPDX-License-Identifier: Apache-2.0
// Does a series repeat itself, and after how many steps?
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "agent/core/forecaster.h"
#include "agent/core/season.h"

namespace outrider {

/// A search for the period of a series, a few lags at a time; one serves many
/// series, one after the other.
///
/// Two steps `lag` apart differ, in the mean square, by twice the variance
/// where they have nothing in common and by nothing where the series repeats:
/// r(lag) = 1 - difference / (2 variance), the autocorrelation of a series
/// that is stationary. A season is a local maximum of r that stands out of what
/// chance gives a series as smooth as this one (Bartlett's variance of r, from
/// the main lobe), and that is found again at twice the lag.
/// Invariant: a value; allocates nothing.
class SeasonSearch {
 public:
  static constexpr std::size_t kLagMax = 340;  // a third: seen three times

  /// A bounded piece of it. True: it has come to its end, and `season` believes
  /// what was found, or it is not worth while yet; the next piece may be of
  /// another series, until then it is of the same. `lag_min`: shorter periods
  /// are none. `likely`: where it takes half the evidence, and none at twice
  /// the lag, as others have it.
  bool ponder(Season& season, std::size_t lag_min, LikelyPeriod likely);
  /// The next piece is of another series.
  void begin_anew() { next_lag_ = 0; }

  /// Names all members to a FieldWriter or FieldReader.
  template <class Io, class Self>
  static void members(Io& io, Self& self);

 private:
  static constexpr std::size_t kLagsAtOnce = 4;
  static constexpr std::size_t kLags = kLagMax + 2;  // r at 0 .. kLagMax + 1

  void begin(const Season& season);
  float likeness(std::size_t lag) const;
  float r(std::size_t lag) const { return r_[lag]; }
  float chance() const;
  bool is_peak(std::size_t lag) const;
  std::size_t find_lag(std::size_t lag_min, float at_least) const;
  float top_near(std::size_t lag) const;
  float refine(const Season& season, std::size_t lag) const;
  float best_of(LikelyPeriod likely, std::size_t lag_min, float at_least) const;
  float decide(const Season& season, std::size_t lag_min,
               LikelyPeriod likely) const;

  // As it began: whole numbers, for many squares are summed.
  std::array<std::int16_t, Season::kSteps> steps_{};
  std::uint32_t count_ = 0;       // of these
  float variance_ = 0;            // of these
  std::array<float, kLags> r_{};  // by lag
  std::uint32_t next_lag_ = 0;    // 0: it is to begin
};

}  // namespace outrider
