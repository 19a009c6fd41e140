// SPDX-License-Identifier: Apache-2.0
// The kernel's CFS bandwidth of one group, as far as a cap of the whole group
// goes: one pool, of which no CPU holds a slice.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <limits>

#include "agent/core/policy.h"

namespace outrider::sim {

/// Invariant: 0 <= left <= quota + burst, where there is a cap.
class SimBandwidth {
 public:
  static constexpr std::int64_t kPeriodMs = 100;
  static constexpr std::int64_t kQuotaMinUs = 1'000;

  explicit SimBandwidth(MilliCpus cap) : cap_(cap), left_us_(quota_us()) {}

  /// Errors: those of cpu.max. Any write that is taken refills, even with the
  /// value that was there.
  int write_cap(MilliCpus cap) {
    const std::int64_t quota = cap.count() * kPeriodMs;
    if (cap != kNoCap && (quota < kQuotaMinUs || quota < burst_us_)) {
      return EINVAL;
    }
    cap_ = cap;
    refill();
    return 0;
  }
  /// Errors: those of cpu.max.burst.
  int write_burst(std::int64_t us) {
    if (us < 0 || (cap_ != kNoCap && us > quota_us())) return EINVAL;
    burst_us_ = us;
    refill();
    return 0;
  }
  /// At the end of a period, and upon each write: what was left is kept as far
  /// as burst allows.
  void refill() {
    left_us_ = std::min(left_us_ + quota_us(), quota_us() + burst_us_);
  }

  std::int64_t left_us() const {
    return cap_ == kNoCap ? std::numeric_limits<std::int64_t>::max() : left_us_;
  }
  void spend(std::int64_t us) {
    if (cap_ != kNoCap) left_us_ -= us;
  }

  MilliCpus cap() const { return cap_; }
  std::int64_t burst_us() const { return burst_us_; }
  std::int64_t quota_us() const {
    return cap_ == kNoCap ? 0 : cap_.count() * kPeriodMs;
  }

 private:
  MilliCpus cap_;
  std::int64_t burst_us_ = 0;
  std::int64_t left_us_;
};

}  // namespace outrider::sim
