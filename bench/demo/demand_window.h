// SPDX-License-Identifier: Apache-2.0
// The second of demand that a baseline remembers, and the caps that follow.
// Pure: the same for every baseline, so that they differ in their rule alone.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "agent/base/units.h"

namespace outrider::demo {

inline constexpr Duration kTick = std::chrono::milliseconds{20};

/// Invariant: holds the last kTicks ticks at most, in milli-CPU.
class DemandWindow {
 public:
  static constexpr std::size_t kTicks = 50;       // 1 s
  static constexpr std::size_t kPeriodTicks = 5;  // cpu.max's period, 100 ms

  void add(MilliCpus tick);
  /// The most over any whole period within the window.
  MilliCpus highest_period() const;
  /// The 95th percentile of the ticks: the least that 95 % do not exceed.
  MilliCpus percentile_95() const;

 private:
  std::array<std::int64_t, kTicks> ticks_{};
  std::size_t next_ = 0;
  std::size_t count_ = 0;
};

/// `demand` and its margin, doubled if throttled, within floor and ceiling.
MilliCpus reactive_cap(MilliCpus demand, double margin, bool throttled,
                       MilliCpus ceiling);

/// `position` 0..1 of the way from the mean to the peak.
MilliCpus static_cap(MilliCpus mean, MilliCpus peak, double position,
                     MilliCpus ceiling);

/// What `capacity` leaves once `others` are served, but at least the floor.
MilliCpus left_over(MilliCpus capacity, const std::vector<MilliCpus>& others);

/// A change of 5 % or less is not worth a write: each refills the bucket.
bool is_worth_a_write(MilliCpus now, MilliCpus wanted);

}  // namespace outrider::demo
