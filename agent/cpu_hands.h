// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "agent/base/result.h"
#include "agent/baseline/table.h"
#include "agent/cgroup.h"
#include "agent/cgroup_actuator.h"
#include "agent/foreign_writes.h"
#include "agent/warden_process.h"

namespace outrider {

struct HandsOptions {
  std::string directory;  // of the table of baselines
  int loop_priority = 0;  // the warden's is one above
  Duration hang_deadline{};
};

/// What it takes to write: the table of baselines, the warden that puts them
/// back, the files, and the look-out for other writers. Invariant: as long as
/// it lives, no other agent can have hands on this host.
struct CpuHands {
  /// Puts back first what an agent that died may have left.
  /// Errors: another agent enforces here; the table, the warden or the look-out
  /// cannot be had.
  static Result<std::unique_ptr<CpuHands>> take(const CgroupTree& tree,
                                                const HandsOptions& options);

  /// Starts another warden in the place of a dead one. Errors: it cannot be
  /// started; nothing may be written then.
  Result<> start_warden();

  BaselineTable table;
  CgroupActuator actuator;
  ForeignWrites foreign;
  std::optional<WardenProcess> warden;
  std::uint64_t generation = 0;  // of the table, as last adopted
  WardenOptions warden_options;

  CpuHands(const CgroupTree& tree, BaselineTable opened, ForeignWrites watched)
      : table(std::move(opened)),
        actuator(tree, table),
        foreign(std::move(watched)),
        generation(table.generation()) {}
};

}  // namespace outrider
