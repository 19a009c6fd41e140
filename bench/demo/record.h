// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "bench/demo/guests.h"

namespace outrider::demo {

/// Until told to stop: looks at every guest each 10 ms, from outside of
/// whatever controls them, and then writes what it saw to `path`, as CSV: t_us
/// of CLOCK_MONOTONIC, and of each guest its cap (-1: none), writes of cpu.max
/// since the start, run_us and wait_us of its vCPU, throttled_us and times
/// throttled of its cgroup, and the reserve that an agent which listens at
/// `socket` holds for it and has not lent (0 where none does).
void record(const std::vector<Guest>& guests, const std::string& path,
            const std::string& socket);

}  // namespace outrider::demo
