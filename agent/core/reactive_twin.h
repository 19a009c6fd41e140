// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>

#include "agent/base/units.h"
#include "agent/core/recent_max.h"

namespace outrider {

/// What a usual reactive loop would have done with the same demand: each 100 ms
/// it sets the most of the last second and a tenth more. Told for comparison;
/// nothing is decided by it. In its first second it holds nothing back.
class ReactiveTwin {
 public:
  /// A tick's demand; how much of it its cap would have held back.
  MilliCpus add(MilliCpus demand, Duration interval) {
    const MilliCpus short_by = std::max(demand - cap_, MilliCpus{});
    at_ += interval;
    recent_.add(demand, at_, kLookBack);
    left_ -= interval;
    if (left_ <= Duration{}) {
      left_ = kPeriod;
      cap_ = at_ < Instant{kLookBack}
                 ? kNothingHeld
                 : MilliCpus{recent_.most().count() * kSparePermille / 1000};
    }
    return short_by;
  }

  /// Names all members to a FieldWriter or FieldReader.
  template <class Io, class Self>
  static void members(Io& io, Self& self);

 private:
  static constexpr Duration kLookBack = std::chrono::seconds{1};
  static constexpr Duration kPeriod = std::chrono::milliseconds{100};
  static constexpr std::int64_t kSparePermille = 1100;
  static constexpr MilliCpus kNothingHeld{1'000'000'000};

  RecentMax recent_;
  Instant at_{};  // since it began
  Duration left_ = kPeriod;
  MilliCpus cap_ = kNothingHeld;
};

}  // namespace outrider
