// SPDX-License-Identifier: Apache-2.0
// A journal's demand under another policy.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>

#include "agent/base/result.h"
#include "agent/core/controller.h"
#include "agent/core/journal_record.h"

namespace outrider {

/// What one policy made of one VM. Amounts of CPU time are in
/// milli-CPU-microseconds.
struct Tally {
  std::int64_t held = 0;   // cap, or ceiling where there is none; own reserve
  std::int64_t stall = 0;  // demand above the cap: an estimate
  std::uint64_t writes = 0;
};

/// Adds up what a Controller holds from tick to tick, by the VMs' names.
class PolicyTally {
 public:
  /// A segment begins with what `controller` has.
  void begin(const Controller& controller);
  /// Before the tick is made: what was in force during its interval.
  void add(const Controller& controller, const TickCall& tick);
  /// A segment ended with this.
  void end(const Controller& controller);
  const std::map<std::string, Tally>& vms() const { return vms_; }

 private:
  void add_writes(const Controller& controller);

  std::map<std::string, Tally> vms_;
  std::map<VmId, std::uint64_t> writes_;  // so far, of this segment's VMs
};

/// A segment's calls on a Controller of another policy, whose every action is
/// applied at once. What the operator's own policy became meanwhile is ignored.
class WhatIf {
 public:
  /// Errors: the VMs that `recorded` has cannot be served by `policy`.
  static Result<std::unique_ptr<WhatIf>> make(const Controller& recorded,
                                              const Policy& policy);
  /// Shape: a call, no head or state.
  Result<> take(const JournalRecord& record);
  const Controller& controller() const { return controller_; }

 private:
  WhatIf();
  void settle(std::span<const Action> actions);

  Controller controller_;
};

}  // namespace outrider
