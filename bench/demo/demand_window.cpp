// SPDX-License-Identifier: Apache-2.0
#include "bench/demo/demand_window.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "bench/demo/guests.h"

namespace outrider::demo {

void DemandWindow::add(MilliCpus tick) {
  ticks_[next_] = tick.count();
  next_ = (next_ + 1) % kTicks;
  count_ = std::min(count_ + 1, kTicks);
}

MilliCpus DemandWindow::highest_period() const {
  std::int64_t highest = 0;
  for (std::size_t last = 0; last + kPeriodTicks <= count_; ++last) {
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < kPeriodTicks; ++i)
      sum += ticks_[(next_ + 2 * kTicks - 1 - last - i) % kTicks];
    highest = std::max(highest, sum);
  }
  return MilliCpus{highest / static_cast<std::int64_t>(kPeriodTicks)};
}

MilliCpus DemandWindow::percentile_95() const {
  if (count_ == 0) return MilliCpus{0};
  std::array<std::int64_t, kTicks> sorted = ticks_;
  const auto end = sorted.begin() + static_cast<std::ptrdiff_t>(count_);
  std::sort(sorted.begin(), end);
  return MilliCpus{sorted[(count_ * 95 + 99) / 100 - 1]};
}

MilliCpus reactive_cap(MilliCpus demand, double margin, bool throttled,
                       MilliCpus ceiling) {
  const double wanted =
      static_cast<double>(demand.count()) * (1 + margin) * (throttled ? 2 : 1);
  return std::clamp(MilliCpus{std::lround(wanted)}, kFloor, ceiling);
}

MilliCpus static_cap(MilliCpus mean, MilliCpus peak, double position,
                     MilliCpus ceiling) {
  const auto from = static_cast<double>(mean.count());
  const auto to = static_cast<double>(peak.count());
  const MilliCpus cap{std::lround(from + position * (to - from))};
  return std::clamp(cap, kFloor, ceiling);
}

MilliCpus left_over(MilliCpus capacity, const std::vector<MilliCpus>& others) {
  MilliCpus left = capacity;
  for (const MilliCpus cap : others) left = left - cap;
  return std::max(left, kFloor);
}

bool is_worth_a_write(MilliCpus now, MilliCpus wanted) {
  if (now == kNoLimit) return true;
  return std::abs(wanted.count() - now.count()) * 20 > now.count();
}

}  // namespace outrider::demo
