// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

#include "agent/base/units.h"

namespace outrider {

/// Tells demand that only ever grows, as a leak's does, from demand that comes
/// and goes: for a row of windows, the least of each is above the one before.
/// Invariant: `rises_` counts whole windows.
class GrowthWatch {
 public:
  static constexpr Duration kWindow = std::chrono::minutes{5};
  static constexpr std::uint32_t kRises = 6;  // half an hour

  void observe(Bytes value, Instant now) {
    if (ends_ == Instant{}) begin(value, now);
    least_ = std::min(least_, value);
    if (now < ends_) return;
    // An 1/128 is more than what a guest's own bookkeeping moves.
    const Bytes risen{before_.count() + before_.count() / 128};
    rises_ = has_before_ && least_ > risen ? rises_ + 1 : 0;
    before_ = least_;
    has_before_ = true;
    begin(value, now);
  }
  bool leaks() const { return rises_ >= kRises; }

 private:
  void begin(Bytes value, Instant now) {
    least_ = value;
    ends_ = now + kWindow;
  }

  Bytes least_;
  Bytes before_;
  Instant ends_{};
  std::uint32_t rises_ = 0;
  bool has_before_ = false;
};

}  // namespace outrider
