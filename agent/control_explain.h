// SPDX-License-Identifier: Apache-2.0
// The reply of the verb `explain`, and the shape of one write, as
// docs/control.md has them.
#pragma once

#include <string_view>

#include "agent/agent.h"
#include "agent/core/plan.h"
#include "agent/json.h"
#include "agent/vm.h"

namespace outrider {

/// One write, as an object without key. `vm`: its name.
void write_action(const Action& action, std::string_view vm, JsonText& reply);

/// From what was seen of one VM to what was written for it, into the open
/// object. False: the controller does not have it.
bool write_explanation(Agent& agent, const Vm& vm, JsonText& reply);

}  // namespace outrider
