// SPDX-License-Identifier: Apache-2.0
// The only place that asks the kernel for the time.
#pragma once

#include <time.h>

#include "agent/base/units.h"

namespace outrider {

/// CLOCK_MONOTONIC, by the vDSO: no syscall.
Instant monotonic_now();

/// CPU time that the calling thread has used.
Duration thread_cpu_time();

/// A span of time as syscalls take it.
timespec to_timespec(Duration duration);

}  // namespace outrider
