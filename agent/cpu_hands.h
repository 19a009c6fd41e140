// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "agent/base/result.h"
#include "agent/baseline/table.h"
#include "agent/cgroup.h"
#include "agent/cgroup_actuator.h"
#include "agent/foreign_writes.h"

namespace outrider {

/// What it takes to write: the table of baselines, the files, and the look-out
/// for other writers. Invariant: as long as it lives, no other agent can have
/// hands on this host.
struct CpuHands {
  /// Puts back first what an agent that died may have left. Errors: another
  /// agent enforces here; the table or the look-out cannot be had.
  static Result<std::unique_ptr<CpuHands>> take(const CgroupTree& tree,
                                                const std::string& directory);

  BaselineTable table;
  CgroupActuator actuator;
  ForeignWrites foreign;
  std::uint64_t generation = 0;  // of the table, as last adopted

  CpuHands(const CgroupTree& tree, BaselineTable opened, ForeignWrites watched)
      : table(std::move(opened)),
        actuator(tree, table),
        foreign(std::move(watched)),
        generation(table.generation()) {}
};

}  // namespace outrider
