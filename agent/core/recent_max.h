// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "agent/base/units.h"

namespace outrider {

/// The most that a figure was within the last `span`, or up to an eighth of it
/// longer. Invariant: slots_[i] holds the most of one eighth of the span.
class RecentMax {
 public:
  void add(MilliCpus value, Instant now, Duration span) {
    const Duration width =
        std::max(span / static_cast<std::int64_t>(kSlots - 1), Duration{1});
    const std::int64_t turn = now.time_since_epoch() / width;
    const std::int64_t passed = std::clamp<std::int64_t>(
        turn - turn_, 0, static_cast<std::int64_t>(kSlots));
    for (std::int64_t i = 0; i < passed; ++i) {
      newest_ = (newest_ + 1) % kSlots;
      slots_[newest_] = {};
    }
    turn_ = turn;
    slots_[newest_] = std::max(slots_[newest_], value);
  }
  MilliCpus most() const { return *std::ranges::max_element(slots_); }

  /// Names all members to a FieldWriter or FieldReader.
  template <class Io, class Self>
  static void members(Io& io, Self& self);

 private:
  static constexpr std::size_t kSlots = 9;
  std::array<MilliCpus, kSlots> slots_{};
  std::size_t newest_ = 0;
  std::int64_t turn_ = 0;
};

}  // namespace outrider
