// SPDX-License-Identifier: Apache-2.0
#include "agent/sys/clock.h"

#include <algorithm>

namespace outrider {

Instant monotonic_now() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return Instant{std::chrono::seconds{now.tv_sec} +
                 std::chrono::nanoseconds{now.tv_nsec}};
}

// The coarse clock moves with the ticks.
KernelTick kernel_tick() {
  timespec last{};
  timespec period{};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &last);
  clock_getres(CLOCK_MONOTONIC_COARSE, &period);
  return {.last = Instant{std::chrono::seconds{last.tv_sec} +
                          std::chrono::nanoseconds{last.tv_nsec}},
          .period = std::chrono::seconds{period.tv_sec} +
                    std::chrono::nanoseconds{period.tv_nsec}};
}

Instant between_ticks(Instant at, const KernelTick& tick) {
  if (tick.period <= Duration{}) return at;
  const Instant half = tick.last + tick.period / 2;
  const Duration late = (at - half) % tick.period;
  if (late == Duration{}) return at;
  return late < Duration{} ? at - late : at - late + tick.period;
}

std::int64_t wall_ns() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

std::uint64_t boot_seconds() {
  timespec since{};
  clock_gettime(CLOCK_BOOTTIME, &since);
  return static_cast<std::uint64_t>(
      std::max<std::int64_t>(wall_ns() / 1'000'000'000 - since.tv_sec, 0));
}

Duration thread_cpu_time() {
  timespec spent{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &spent);
  return std::chrono::seconds{spent.tv_sec} +
         std::chrono::nanoseconds{spent.tv_nsec};
}

timespec to_timespec(Duration duration) {
  const auto seconds =
      std::chrono::duration_cast<std::chrono::seconds>(duration);
  return {.tv_sec = seconds.count(), .tv_nsec = (duration - seconds).count()};
}

}  // namespace outrider
