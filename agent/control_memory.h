// SPDX-License-Identifier: Apache-2.0
// The verb that shows how memory is kept free; docs/control.md has its reply.
#pragma once

#include <vector>

#include "agent/agent.h"
#include "agent/control.h"
#include "agent/json.h"
#include "agent/memory_control.h"

namespace outrider {

/// `agent` must outlive them.
std::vector<ControlVerb> memory_verbs(Agent& agent);

/// One VM's memory, as an object without key. Nothing where it is not watched.
void write_vm_memory(const MemoryControl& memory, VmId vm, JsonText& reply);

/// The limits along its cgroup's path, as the member "memory_limits". Slow:
/// some files a level.
void write_memory_limits(const MemoryControl& memory, VmId vm, JsonText& reply);

}  // namespace outrider
