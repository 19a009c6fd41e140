// SPDX-License-Identifier: Apache-2.0
// What a series did a period ago.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

namespace outrider {

/// What the periods before had, one or more of them ago.
struct PeriodsAgo {
  float mean_step = -1;  // the mean of their next steps; below 0: not known
  float mean_next = 0;   // and of their peaks over the next horizon
  // The middle one of three, the larger of two. Each window is wider by a step,
  // the next one on either side, for a phase that is known to a step only.
  float peak_now = 0;
  float peak_next = 0;
};

/// The last steps of a series, and what it did a period ago, once a period is
/// believed in (season_search.h).
///
/// Steps are kept as the upper halves of floats, right to 0.4 %, so that they
/// may be of any unit.
/// Invariant: a trivially copyable value; allocates nothing.
class Season {
 public:
  static constexpr std::size_t kSteps = 1024;  // held

  /// The next step. Shape: not negative, at most 1e15.
  void push(float value);

  /// As Forecaster::prefetch.
  void prefetch() const;

  /// In steps; 0 while no season is believed in.
  float period() const { return period_; }
  void believe(float period) {
    period_ = period;
    decided_ = count_;
  }

  /// Asks for a season.
  PeriodsAgo periods_ago(std::size_t horizon) const;

  /// Whether it may have come about: of bytes from elsewhere.
  bool is_sound() const;

  // For who searches.

  std::size_t held() const { return count_ < kSteps ? count_ : kSteps; }
  /// Since believe() was called last, or the first.
  std::uint32_t since_decided() const { return count_ - decided_; }
  /// The steps held, oldest first, where the highest is kWhole. Shape: held()
  /// at least; the rest is left as it is.
  void scaled(std::span<std::int16_t> steps) const;
  static constexpr std::int16_t kWhole = 2047;

 private:
  static constexpr std::size_t kMask = kSteps - 1;
  static_assert((kSteps & kMask) == 0);

  std::uint16_t ago(std::size_t steps) const {
    return ring_[(count_ - 1 - steps) & kMask];
  }

  std::array<std::uint16_t, kSteps> ring_{};
  std::uint32_t count_ = 0;    // pushed; its low bits are where the next goes
  std::uint32_t decided_ = 0;  // count_ at that time
  float period_ = 0;
};

}  // namespace outrider
