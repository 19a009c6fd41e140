// SPDX-License-Identifier: Apache-2.0
// The only place that asks the kernel for the time.
#pragma once

#include <time.h>

#include <cstdint>

#include "agent/base/units.h"

namespace outrider {

/// CLOCK_MONOTONIC, by the vDSO: no syscall.
Instant monotonic_now();

/// The kernel's own tick, as it was seen last: when, and how long one is.
struct KernelTick {
  Instant last{};
  Duration period{};
};
KernelTick kernel_tick();

/// The first instant from `at` on that is half way between two kernel ticks.
Instant between_ticks(Instant at, const KernelTick& tick);

/// Nanoseconds since 1970, for people: it may jump.
std::int64_t wall_ns();

/// When this boot began, in seconds since 1970, to a second or so.
std::uint64_t boot_seconds();

/// CPU time that the calling thread has used.
Duration thread_cpu_time();

/// A span of time as syscalls take it.
timespec to_timespec(Duration duration);

}  // namespace outrider
