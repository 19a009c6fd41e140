// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "agent/base/result.h"
#include "bench/probe/figures.h"

namespace outrider::bench {

/// From a call through a BPF ring to the loop's handler, by each back-end of
/// the loop in turn (A B B A), while every CPU is busy. Empty where the kernel
/// has no io_uring for us.
Result<std::vector<Figure>> measure_backends();

}  // namespace outrider::bench
