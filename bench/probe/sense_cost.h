// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "bench/probe/figures.h"

namespace outrider::bench {

/// ns to sense one of 1,000 VMs that are in memory, against reading three
/// files of each of 1,000 cgroups in the same run.
std::vector<Figure> measure_sense(int rounds);

}  // namespace outrider::bench
