// SPDX-License-Identifier: Apache-2.0
// Point forecasts of the peak over the next horizon: simple ones, each right
// where the others are not.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "agent/core/season.h"

namespace outrider {

inline constexpr std::size_t kHorizonMax = 12;  // steps

enum class Expert : std::uint8_t {
  kLast,      // it stays as it is
  kTrailing,  // the next horizon's peak is the last one's
  kEwma,      // it goes back to its mean
  kHolt,      // it goes on as it went, less and less so
  kSeason,    // it does as a period ago; where it is above that, it is no less
              // than now; the trailing peak while there is no season
};
inline constexpr std::size_t kExperts = 5;
using Points = std::array<float, kExperts>;

/// What the experts know of one series.
/// Invariant: a trivially copyable value; allocates nothing; no point is below
/// nothing.
class Experts {
 public:
  /// The first value of a series, before it is observed.
  void start(float demand) { ewma_ = level_ = mean_ = demand; }
  /// The next step's demand in milli-CPU. `trailing`: the peak of the last
  /// horizon, this step included.
  void observe(float demand, float trailing);
  /// A step of which nothing was seen: time goes on, the levels hold.
  void skip() { season_.push(to_ring(last_)); }

  /// In milli-CPU, as of the last step.
  Points points(std::size_t horizon) const;

  /// Coarse situation, 0 .. kSituations - 1: is demand above its long mean, and
  /// above its short one? How wrong a point is depends much on that.
  std::size_t situation() const;
  static constexpr std::size_t kSituations = 4;

  /// As Forecaster::prefetch.
  void prefetch() const {
    season_.prefetch();
    __builtin_prefetch(&last_, 1);
  }

  float last() const { return last_; }
  float period() const { return season_.period(); }
  void ponder(std::size_t horizon, LikelyPeriod likely) {
    season_.ponder(horizon + 2, likely);
  }

 private:
  // The season sees demand in units of 4 milli-CPU, which reach to 262 CPUs.
  static constexpr float kRingUnit = 4;
  static std::uint16_t to_ring(float demand);
  float seasonal(std::size_t horizon) const;

  Season season_;
  float last_ = 0;
  float trailing_ = 0;
  float ewma_ = 0;
  float level_ = 0;  // Holt's
  float slope_ = 0;
  float mean_ = 0;  // long
};

}  // namespace outrider
