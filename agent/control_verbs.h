// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "agent/agent.h"
#include "agent/config.h"
#include "agent/control.h"

namespace outrider {

/// The table of verbs. Both must outlive it.
std::vector<ControlVerb> control_verbs(Agent& agent, const Config& config);

}  // namespace outrider
