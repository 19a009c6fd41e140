// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "bench/probe/figures.h"

namespace outrider::bench {

/// ns of the kvm_entry and the kvm_exit program together, above empty ones, for
/// a guest of `minivm` (its path is `minivm`) that does nothing but leave.
/// Empty when no guest enters through these tracepoints on this host.
std::vector<Figure> measure_kvm(const char* minivm, int quads);

}  // namespace outrider::bench
