// SPDX-License-Identifier: Apache-2.0
#include "agent/core/memory_policy.h"

#include <algorithm>

namespace outrider {

Bytes VmMemoryPolicy::floor_of(Bytes size) const {
  if (floor.count() >= 0) return std::min(floor, size);
  return Bytes{size.count() / 1000 * floor_permille};
}

VmMemoryPolicy resolve_memory(const Policy& policy, const MemoryFacts& vm) {
  const VmRule* rule = find_rule(policy, vm.name, vm.uuid);
  VmMemoryPolicy its{
      .vm_class = rule != nullptr ? rule->vm_class : policy.default_class,
      .mode = std::min(policy.mode, policy.memory.mode)};
  const MemoryClassPolicy& of_class =
      policy.memory.classes[static_cast<std::size_t>(its.vm_class)];
  its.balloon = of_class.balloon;
  its.floor_permille = of_class.floor_permille;
  if (rule == nullptr) return its;
  its.mode = std::min(its.mode, rule->mode);
  its.floor = rule->memory_floor;
  if (rule->balloon >= 0) its.balloon = rule->balloon == 1;
  return its;
}

}  // namespace outrider
