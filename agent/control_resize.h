// SPDX-License-Identifier: Apache-2.0
// The verbs that give a VM another size; docs/control.md has their replies.
#pragma once

#include <vector>

#include "agent/agent.h"
#include "agent/control.h"

namespace outrider {

/// `agent` must outlive them.
std::vector<ControlVerb> resize_verbs(Agent& agent);

}  // namespace outrider
