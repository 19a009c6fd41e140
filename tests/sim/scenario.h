// SPDX-License-Identifier: Apache-2.0
// A random host, its VMs, its faults and its policy, all of one seed.
#pragma once

#include <cstdint>

#include "agent/core/policy.h"
#include "tests/sim/sim_host.h"

namespace outrider::sim {

struct Scenario {
  SimConfig host;
  Policy policy;
};

/// The same seed gives the same scenario. One in four is without faults.
Scenario make_scenario(std::uint64_t seed);

}  // namespace outrider::sim
