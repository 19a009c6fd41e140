// SPDX-License-Identifier: Apache-2.0
// What a Controller holds of a VM, as JSON: of the live one for the verb
// `explain`, of a replayed one for `outrider explain --at`.
#pragma once

#include <string_view>

#include "agent/core/controller.h"
#include "agent/core/plan.h"
#include "agent/json.h"

namespace outrider {

/// Class, mode, signals, forecasts and rule, into the open object.
void write_state(const VmState& vm, const Controller& controller,
                 JsonText& reply);

/// One write, as an object without key. `vm`: its name.
void write_action(const Action& action, std::string_view vm, JsonText& reply);

}  // namespace outrider
