// SPDX-License-Identifier: Apache-2.0
#include "agent/sys/clock.h"

namespace outrider {

Instant monotonic_now() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return Instant{std::chrono::seconds{now.tv_sec} +
                 std::chrono::nanoseconds{now.tv_nsec}};
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
