// SPDX-License-Identifier: Apache-2.0
// The verbs that show and change how CPU is given out; docs/control.md has
// their replies.
#pragma once

#include <vector>

#include "agent/agent.h"
#include "agent/control.h"

namespace outrider {

/// `agent` must outlive them.
std::vector<ControlVerb> cpu_verbs(Agent& agent);

}  // namespace outrider
