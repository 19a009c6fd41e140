// SPDX-License-Identifier: Apache-2.0
// Quantities and identities that everyone uses.
#pragma once

#include <chrono>
#include <compare>
#include <cstdint>

namespace outrider {

/// A count of one unit. Sums and comparisons stay within the unit; conversions
/// are named functions.
template <class Tag, class Rep>
class Quantity {
 public:
  constexpr Quantity() = default;
  constexpr explicit Quantity(Rep count) : count_(count) {}
  constexpr Rep count() const { return count_; }

  friend constexpr auto operator<=>(Quantity, Quantity) = default;
  friend constexpr Quantity operator+(Quantity a, Quantity b) {
    return Quantity{a.count_ + b.count_};
  }
  friend constexpr Quantity operator-(Quantity a, Quantity b) {
    return Quantity{a.count_ - b.count_};
  }
  constexpr Quantity& operator+=(Quantity other) {
    count_ += other.count_;
    return *this;
  }

 private:
  Rep count_{};
};

using MilliCpus = Quantity<struct MilliCpusTag, std::int64_t>;  // 1000 = 1 CPU
using Bytes = Quantity<struct BytesTag, std::int64_t>;

/// A VM as this agent knows it: given out in rising order, never used twice.
enum class VmId : std::uint32_t {};

/// A thread of an attached VM, likewise: a reused tid is another ThreadId.
enum class ThreadId : std::uint32_t {};

/// Monotonic time without now(): only sys/clock.cpp asks the kernel for it, so
/// core cannot read the clock by accident.
struct MonotonicClock {
  using duration = std::chrono::nanoseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<MonotonicClock>;
  static constexpr bool is_steady = true;
};
using Instant = MonotonicClock::time_point;
using Duration = MonotonicClock::duration;

}  // namespace outrider
