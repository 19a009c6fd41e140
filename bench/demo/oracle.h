// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdio>
#include <optional>
#include <vector>

#include "bench/demo/guests.h"

namespace outrider::demo {

/// Knows one guest's load in advance, as steps of its cap: a burst has its cap
/// 20 ms before it begins. That it is over is seen, not known, since how long
/// its work takes is the processor's affair.
class Oracle {
 public:
  explicit Oracle(const Guest& guest);
  /// The cap to hold at `now`; the floor until the guest was told to go.
  MilliCpus cap_at(Instant now);

 private:
  struct Step {
    Duration at{};  // after the guest's time 0
    MilliCpus cap{};
  };
  void read_marks();

  std::vector<Step> steps_;
  std::size_t step_ = 0;  // the first that is not due yet
  Fd marks_;
  std::string partial_;  // a line whose end has not come yet
  std::optional<Instant> zero_;
  bool is_busy_ = false;
  MilliCpus burst_cap_{kFloor};
};

}  // namespace outrider::demo
