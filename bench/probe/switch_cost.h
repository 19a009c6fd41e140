// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "bench/probe/figures.h"

namespace outrider::bench {

/// ns that the sched_switch program adds to an empty one, by the kernel's own
/// booking, in `quads` A-B-B-A windows of a ping-pong; and what everything
/// attached does to the ping-pong itself.
std::vector<Figure> measure_switch(int quads);

}  // namespace outrider::bench
