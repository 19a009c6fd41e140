// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "bench/probe/figures.h"

namespace outrider::bench {

/// 63 peers beside one that is hung, slow, silent or flooding, against 63
/// beside one that is not.
std::vector<Figure> measure_isolation(int quads);
/// 100 peers asked from one thread, against one.
std::vector<Figure> measure_fan_out(int quads);
/// A real QEMU through the library, against a bare client; empty: no QEMU here.
std::vector<Figure> measure_round_trip(int quads);

}  // namespace outrider::bench
