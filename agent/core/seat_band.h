// SPDX-License-Identifier: Apache-2.0
// What both halves of a Seat, its needs and its writes, measure changes in.
#pragma once

#include <algorithm>
#include <cstdint>

#include "agent/core/policy.h"

namespace outrider {

inline constexpr std::int64_t kPermille = 1000;

/// Lowering costs two writes: itself and the raise that will follow.
inline constexpr std::int64_t kLowerCost = 2;

inline MilliCpus share_of(MilliCpus whole, std::int64_t permille) {
  return MilliCpus{whole.count() * permille / kPermille};
}

/// The dead-band about a cap: smaller changes are not made.
inline MilliCpus band_of(const CpuPolicy& cpu, MilliCpus cap) {
  return std::max(cpu.dead_band, share_of(cap, cpu.dead_band_permille));
}

}  // namespace outrider
