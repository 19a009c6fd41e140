// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>

#include "agent/base/units.h"

namespace outrider {

/// What the last edges of a VM came to: the peak of demand in the cap period
/// after each. Some VMs' edges are bursts of all their vCPUs, others' are a
/// demand that is a little above the cap.
/// Invariant: of at most kHeld edges; one that comes while another's period is
/// open is part of it.
class EdgePeaks {
 public:
  static constexpr std::size_t kHeld = 16;
  static constexpr std::size_t kEnough = 8;

  bool is_open() const { return left_ > Duration{}; }
  /// An edge was answered: its peak is that of the next `span`.
  void open(Duration span) {
    left_ = span;
    peak_ = {};
  }
  /// `interval` has passed with this demand.
  void add(MilliCpus demand, Duration interval) {
    if (!is_open()) return;
    peak_ = std::max(peak_, demand);
    left_ -= interval;
    if (is_open()) return;
    peaks_[next_] = peak_;
    next_ = (next_ + 1) % kHeld;
    held_ = std::min(held_ + 1, kHeld);
    likely_ = nine_in_ten();
  }

  bool knows() const { return held_ >= kEnough; }
  /// What nine in ten edges came to, or less. Asks for knows().
  MilliCpus likely() const { return likely_; }

  /// Names all members to a FieldWriter or FieldReader.
  template <class Io, class Self>
  static void members(Io& io, Self& self);

 private:
  // Not when an edge asks: it cannot wait.
  MilliCpus nine_in_ten() const {
    std::array<MilliCpus, kHeld> sorted = peaks_;
    const auto end = sorted.begin() + static_cast<std::ptrdiff_t>(held_);
    const auto place = sorted.begin() + static_cast<std::ptrdiff_t>(held_ / 10);
    std::nth_element(sorted.begin(), place, end, std::greater<>{});
    return *place;
  }

  std::array<MilliCpus, kHeld> peaks_{};
  std::size_t next_ = 0;
  std::size_t held_ = 0;
  MilliCpus likely_{};
  MilliCpus peak_{};
  Duration left_{};
};

}  // namespace outrider
