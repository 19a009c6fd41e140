// SPDX-License-Identifier: Apache-2.0
// The reply of the verb `explain`, as docs/control.md has it.
#pragma once

#include "agent/agent.h"
#include "agent/json.h"
#include "agent/vm.h"

namespace outrider {

/// From what was seen of one VM to what was written for it, into the open
/// object. False: the controller does not have it.
bool write_explanation(Agent& agent, const Vm& vm, JsonText& reply);

}  // namespace outrider
