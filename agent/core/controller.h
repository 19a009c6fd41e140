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

enum class Series : std::uint8_t;  // seat.h

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
  std::uint64_t throttled = 0;
  std::uint64_t reactive_short = 0;  // demand above a reactive loop's cap
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
  CpuInput seen;                   // the last that was not missing
  Forecast soon;                   // of the peak over the control window
  Forecast ahead;                  // over the prediction horizon
  Forecast reserve_ahead;          // over the reserve's horizon
  MilliCpus foreseen;              // minutes ahead; 0: nothing is
  bool in_charge = false;          // Outrider has set its cap
  bool missing = false;            // nothing was seen of it in the last tick
  bool contended = false;          // somebody else writes there: left alone
  bool let_go = false;             // in live migration, or released
  bool gone = false;               // its cgroup is no more
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

  /// Errors: floors, each divided by its class's overcommit, above capacity;
  /// the text names the VMs.
  static Result<> check(const Policy& policy, const HostFacts& host,
                        std::span<const VmFacts> vms);
  /// All of it at once. Errors: as of `check`; nothing has changed then.
  Result<> change_policy(Policy policy);

  /// What was learned of its UUID before is taken up. Errors: as of `check`,
  /// with it, unless the host is only observed; it is only observed then.
  /// Asserts that its id is new.
  Result<> add_vm(const VmFacts& vm);
  /// What was learned is kept by UUID, or dropped, as the policy says. Nothing
  /// happens if there is no such VM.
  void remove_vm(VmId vm);

  /// One tick: what is to be set now, shrinking first. Valid until the next
  /// call of anything. Allocates nothing.
  std::span<const Action> tick(const TickInput& input);
  /// A bounded piece of the search for seasons, for who has time until the next
  /// tick: nothing is decided later or otherwise if it is never called. False:
  /// none is left. What `tick` gave stays valid.
  bool ponder();
  /// The fast path: a hand-over to that VM, or nothing. As `tick` otherwise.
  std::span<const Action> edge(const EdgeInput& input);
  /// `outcomes[i]` is of `plan[i]`, of the last tick or edge.
  void settle(std::span<const Action> plan, std::span<const Outcome> outcomes);

  /// It has so many vCPUs now; at least 1.
  void resize(VmId vm, std::int64_t vcpus);
  /// Its baseline was put back behind the controller's back: `cap` is there
  /// now, and Outrider is no longer in charge until the next tick.
  void adopt(VmId vm, MilliCpus cap);
  /// Somebody else wrote `cap` at `now`: re-asserted once after back-off; the
  /// second time within a minute the VM is contended and left alone.
  void foreign_write(VmId vm, Instant now, MilliCpus cap);
  /// An operator says that the other writer is gone.
  void release_contention(VmId vm);
  /// In live migration: nothing is set until `take_up`. Putting its baseline
  /// back is the caller's.
  void let_go(VmId vm);
  /// It is here to stay, with its baseline in force.
  void take_up(VmId vm);
  /// From minutes ahead: its demand is to reach `peak`, which its reserve
  /// covers from now on, as far as its ceiling lets it. 0: nothing is foreseen.
  void foresee(VmId vm, MilliCpus peak);
  /// An operator's own choice for it: the least of this and the policy's holds.
  /// Where that ends enforcing, putting its baseline back is the caller's.
  void set_mode(VmId vm, Mode mode);
  /// Likewise for all.
  void set_host_mode(Mode mode);

  /// Sorted by id.
  std::size_t vm_count() const;
  /// The i-th. Valid until a VM comes or goes.
  const VmState& vm(std::size_t i) const;
  /// nullptr: no such VM.
  const VmState* find(VmId vm) const;
  /// How its forecasts have done. Errors: none; of no such VM, nothing.
  ForecastScore forecast_score(VmId vm, Series series) const;
  /// What VMs may hold: all CPUs less the host's own share.
  MilliCpus capacity() const;
  /// In force.
  const Policy& policy() const;
  /// Between two ticks, as they are planned.
  Duration tick_period() const;

  /// Appends all that later decisions follow from, the policy included. For a
  /// machine of the same kind, as the forecasters' states are.
  void save(std::vector<std::byte>& bytes) const;
  /// Becomes what was saved; the factory alone stays its own. Errors: bytes
  /// that are no such state; nothing has changed then.
  /// Properties (tested): what was loaded decides as what was saved does.
  Result<> load(std::span<const std::byte> state);
  /// Each VM that `before` had goes on, when it is added, from what was learned
  /// of it `ago`; its demand since then is missing. What was learned at another
  /// clock, or too long ago, is dropped. For a Controller without VMs.
  void inherit(const Controller& before, Duration ago);

  /// Appends what was learned of a VM, for take_learned() of this or another
  /// host's Controller. False: no such VM.
  bool give_learned(VmId vm, std::vector<std::byte>& bytes) const;
  /// The VM with that UUID, here or to come, goes on from it. Errors: bytes
  /// that are none such, or that were learned at another clock; nothing has
  /// changed then.
  Result<> take_learned(const std::string& uuid,
                        std::span<const std::byte> bytes);

 private:
  struct Inside;
  std::unique_ptr<Inside> inside_;
};

}  // namespace outrider
