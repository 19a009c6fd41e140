// SPDX-License-Identifier: Apache-2.0
// The controller: from each tick's demand to a Plan, and from an edge to a
// hand-over. Pure: the same calls give the same Plans, bit for bit.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "agent/base/result.h"
#include "agent/base/units.h"
#include "agent/core/arbitrate.h"
#include "agent/core/forecaster.h"
#include "agent/core/plan.h"
#include "agent/core/policy.h"
#include "agent/core/sample.h"

namespace outrider {

/// One VM's figures of one tick, as a VmDemand has them: milli-CPU averaged
/// over the tick's interval. What the journal keeps of the tick.
struct CpuInput {
  VmId vm{};
  std::array<std::int32_t, kThreadClasses> demand{};  // by ThreadClass
  std::int32_t overcounted = 0;
  std::int32_t open_wait = 0;
  std::int32_t usage = 0;
  std::int32_t wait = 0;
  std::int32_t throttled = 0;
  bool upper_bound = false;
  bool missing = false;  // nothing was seen of it: its limits are held

  friend bool operator==(const CpuInput&, const CpuInput&) = default;
};

/// Invariant: `vms` is sorted by id; it may lack VMs that the controller has
/// (they are missing) and hold others (they are passed over).
struct TickInput {
  Instant now{};
  Duration interval{};
  std::span<const CpuInput> vms;
};

struct EdgeInput {
  enum class Kind : std::uint8_t { kQuota, kWait };
  Instant at{};  // when the loop took it up
  VmId vm{};
  Kind kind = Kind::kQuota;
  Duration value{};  // quota that was left, or time waited
};

/// Running totals of one VM's shadow; all only rise.
struct ShadowStats {
  std::uint64_t grants_full = 0;
  std::uint64_t grants_partial = 0;
  std::uint64_t grants_denied = 0;
  std::uint64_t hand_overs = 0;      // an edge that a reserve served
  std::uint64_t edges_unserved = 0;  // nothing was there to hand over
  std::uint64_t pre_raised = 0;      // demand came that the cap was ready for
  std::uint64_t surprised = 0;       // demand came above the cap
  // Integrals over time, in milli-CPU-milliseconds.
  std::uint64_t held = 0;    // cap and reserve not lent
  std::uint64_t used = 0;    // usage
  std::uint64_t wasted = 0;  // reserve that was neither lent nor handed over
  std::uint64_t writes = 0;

  friend bool operator==(const ShadowStats&, const ShadowStats&) = default;
};

/// What the controller holds of one VM; for people and programs to look at.
struct VmState {
  VmFacts facts;
  VmPolicy policy;
  MilliCpus demand;            // over the last cap period
  MilliCpus target;            // what it ought to hold
  MilliCpus applied = kNoCap;  // what the file says, as far as is known
  MilliCpus reserve;
  MilliCpus lent;
  MilliCpus loan;
  Reason reason = Reason::kStart;  // the rule that bound `target`
  std::array<MilliCpus, kThreadClasses> demand_by_class{};
  Forecast soon;           // of the peak over the control window
  Forecast ahead;          // over the prediction horizon
  Forecast reserve_ahead;  // over the reserve's horizon
  bool in_charge = false;  // Outrider has set its cap
  bool contended = false;  // somebody else writes there: left alone
  bool let_go = false;     // in live migration, or released
  ShadowStats stats;
};

/// Makes the Forecaster of one series with a horizon of so many steps.
using ForecasterFactory =
    std::function<std::unique_ptr<Forecaster>(std::uint32_t horizon_steps)>;

/// Host facts that the policy is held against.
struct HostFacts {
  std::int64_t cpus = 1;
  friend bool operator==(const HostFacts&, const HostFacts&) = default;
};

/// Invariants, after every call (docs: design.md section 4): no VM's target
/// under its floor or above its ceiling; sum of what is held by VMs that are
/// capped <= capacity, what is lent not counted twice, wherever the sum of
/// floors allows it; a VM that is missing, contended or let go keeps its cap.
class Controller {
 public:
  Controller(Policy policy, HostFacts host, Duration tick_period,
             ForecasterFactory make_forecaster);
  ~Controller();

  /// Errors: floors above capacity times the class's overcommit, naming the
  /// VMs. Nothing has changed then.
  static Result<> check(const Policy& policy, const HostFacts& host,
                        std::span<const VmFacts> vms);
  Result<> change_policy(Policy policy);

  void add_vm(const VmFacts& vm);
  /// What was learned is kept by UUID, or dropped, as the policy says.
  void remove_vm(VmId vm);

  /// Valid until the next call of anything.
  std::span<const Action> tick(const TickInput& input);
  std::span<const Action> edge(const EdgeInput& input);
  /// `outcomes[i]` is of `plan[i]`, of the last tick or edge.
  void settle(std::span<const Action> plan, std::span<const Outcome> outcomes);

  /// The knobs say something else than was written: `cap` is there now.
  void adopt(VmId vm, MilliCpus cap);
  /// Somebody else wrote `cap` at `now`: re-asserted once after back-off, then
  /// contended.
  void foreign_write(VmId vm, Instant now, MilliCpus cap);
  void release_contention(VmId vm);
  /// Its baseline goes back and nothing is written until `take_up`.
  void let_go(VmId vm);
  void take_up(VmId vm);

  std::span<const VmState> vms() const;  // sorted by id
  const VmState* find(VmId vm) const;
  MilliCpus capacity() const;
  const Policy& policy() const;

 private:
  struct Inside;
  std::unique_ptr<Inside> inside_;
};

}  // namespace outrider
