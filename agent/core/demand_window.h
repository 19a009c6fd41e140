// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "agent/base/units.h"

namespace outrider {

/// Demand over the last cap period: what the kernel's books will see. And what
/// was sustained over the last two ticks, so that a burst longer than a period
/// is seen before a period is full of it.
/// Invariant: the sums are of the newest `count_` ticks, which span at least
/// the period once as many have come.
class DemandWindow {
 public:
  static constexpr std::size_t kTicksMax = 64;

  /// `demand` less what proved to be delay only, averaged over `interval`, and
  /// what of it is certain.
  void add(MilliCpus demand, MilliCpus certain, Duration interval,
           Duration period) {
    const Tick tick{demand.count() * interval.count(),
                    certain.count() * interval.count(), interval.count()};
    if (count_ == kTicksMax) drop_oldest();
    ticks_[(first_ + count_) % kTicksMax] = tick;
    ++count_;
    want_ += tick.want;
    certain_ += tick.certain;
    span_ += tick.span;
    while (count_ > 1 && span_ - ticks_[first_].span >= period.count()) {
      drop_oldest();
    }
    previous_rate_ = rate_;
    rate_ = demand;
    previous_certain_rate_ = certain_rate_;
    certain_rate_ = certain;
  }

  MilliCpus average() const { return average_of(want_); }

  /// The cap that would have been enough: never below the average.
  MilliCpus adequate() const {
    return std::max(average(), std::min(rate_, previous_rate_));
  }

  /// The same of what is certain.
  MilliCpus certain() const {
    return std::max(average_of(certain_),
                    std::min(certain_rate_, previous_certain_rate_));
  }

  /// Names all members to a FieldWriter or FieldReader.
  template <class Io, class Self>
  static void members(Io& io, Self& self);

 private:
  struct Tick {
    std::int64_t want = 0;  // milli-CPU times ns
    std::int64_t certain = 0;
    std::int64_t span = 0;  // ns
  };
  MilliCpus average_of(std::int64_t sum) const {
    if (span_ <= 0) return {};
    return MilliCpus{std::max<std::int64_t>(sum, 0) / span_};
  }
  void drop_oldest() {
    want_ -= ticks_[first_].want;
    certain_ -= ticks_[first_].certain;
    span_ -= ticks_[first_].span;
    first_ = (first_ + 1) % kTicksMax;
    --count_;
  }

  std::array<Tick, kTicksMax> ticks_{};
  std::size_t first_ = 0;
  std::size_t count_ = 0;
  std::int64_t want_ = 0;
  std::int64_t certain_ = 0;
  std::int64_t span_ = 0;
  MilliCpus rate_{};
  MilliCpus previous_rate_{};
  MilliCpus certain_rate_{};
  MilliCpus previous_certain_rate_{};
};

}  // namespace outrider
