// SPDX-License-Identifier: Apache-2.0
// The only place that asks the kernel for the time.
#pragma once

#include "agent/base/units.h"

namespace outrider {

/// CLOCK_MONOTONIC, by the vDSO: no syscall.
Instant monotonic_now();

}  // namespace outrider
