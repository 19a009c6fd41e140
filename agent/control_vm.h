// SPDX-License-Identifier: Apache-2.0
// What the verbs about one VM share: which it is, and how it is refused.
#pragma once

#include <string>

#include "agent/agent.h"
#include "agent/control.h"

namespace outrider {

tl::unexpected<ControlRefusal> refusal(ControlCode code, std::string what);

/// By the request's member "vm"; nullptr: there is none.
const Vm* find_vm(const Agent& agent, const ControlCall& call);
/// What is answered then.
tl::unexpected<ControlRefusal> no_such_vm(const ControlCall& call);

}  // namespace outrider
