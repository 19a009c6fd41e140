// SPDX-License-Identifier: Apache-2.0
// A hypervisor without a kernel: VMs with demand traces on shared CPUs under
// the kernel's bandwidth rule, in steps of a millisecond. It gives what a
// controller is fed with and takes its Plans; on the way both may go wrong.
//
//   SimHost host(config);
//   while (host.now_ms() < 60'000) {
//     for (const EdgeInput& edge : host.step()) ...;  // may apply a Plan
//     if (host.tick_due()) { const SimTick& tick = host.tick(); ... }
//   }
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "agent/core/controller.h"
#include "agent/core/plan.h"
#include "tests/sim/sim_random.h"
#include "tests/sim/sim_vm.h"

namespace outrider::sim {

/// In thousandths, drawn at each chance.
struct SimFaults {
  // For each Action.
  std::int64_t busy = 0;     // EBUSY
  std::int64_t refused = 0;  // EINVAL, though the value is right
  std::int64_t gone = 0;     // ENOENT: the VM has just ended
  std::int64_t rounded = 0;  // taken, but a little less is there
  // For each VM in each tick.
  std::int64_t foreign = 0;  // somebody else has set its cap
  std::int64_t stale = 0;    // the figures of the tick before, again
  std::int64_t absent = 0;   // it is not in the input
  std::int64_t reset = 0;    // its counters began anew: in it, as missing
  // For each tick.
  std::int64_t late = 0;   // the next one comes 1 to 3 periods late
  std::int64_t leave = 0;  // one VM ends
  std::int64_t enter = 0;  // one that had ended starts, as another VmId
};

struct SimConfig {
  std::uint64_t seed = 1;
  std::int64_t cpus = 4;
  std::int64_t tick_ms = 20;
  std::vector<SimVmSpec> vms{};
  SimFaults faults{};
};

struct SimForeignWrite {
  VmId vm{};
  MilliCpus cap{};  // that is there now
};

/// What a controller learns in one tick, in this order. A VM has figures from
/// the tick after the one it came in.
struct SimTick {
  std::vector<VmFacts> came;
  std::vector<VmId> gone;  // those that an Outcome has told of as well
  std::vector<SimForeignWrite> foreign;
  TickInput input;
};

/// Invariants: the same config and calls give the same figures; the CPU time
/// served in a step is not above that of the host; `vms()` is sorted by id.
class SimHost : public Actuator {
 public:
  explicit SimHost(SimConfig config);

  /// One millisecond. The edges are valid until the next.
  std::span<const EdgeInput> step();
  bool tick_due() const { return now_ms_ >= next_tick_ms_; }
  /// Valid until the next.
  const SimTick& tick();

  void apply(std::span<const Action> plan,
             std::span<Outcome> outcomes) override;

  std::int64_t now_ms() const { return now_ms_; }
  /// What is really there, for checkers.
  std::span<const SimVm> vms() const { return vms_; }
  const SimVm* find(VmId vm) const;
  /// Over all lives of the VM that config.vms[spec_index] describes.
  const SimFigures& figures(std::size_t spec_index) const {
    return figures_[spec_index];
  }

 private:
  Instant now() const;
  void start(std::size_t spec_index);
  void end(std::size_t index);
  void share_cpus();
  void churn();
  void write_as_somebody_else();
  void read_inputs(std::int64_t interval_ms);
  Outcome apply(const Action& action);
  Outcome write(SimVm& vm, const Action& action);

  SimConfig config_;
  SimRandom random_;  // of faults alone: they do not change the demand
  std::vector<SimVm> vms_;
  std::vector<SimFigures> figures_;       // as config_.vms
  std::vector<std::size_t> ended_;        // into config_.vms
  std::vector<VmFacts> came_;             // since the last tick
  std::vector<VmId> gone_;                // likewise
  std::vector<std::int64_t> wanted_us_;   // as vms_, scratch of a step
  std::vector<std::int64_t> granted_us_;  // likewise
  std::vector<EdgeInput> edges_;
  std::vector<CpuInput> inputs_;
  SimTick tick_;
  std::uint32_t last_id_ = 0;
  std::int64_t now_ms_ = 0;
  std::int64_t last_tick_ms_ = 0;
  std::int64_t next_tick_ms_;
};

/// Divides `capacity` among `wanted` by weight, nobody above what it wanted, in
/// rounds: written apart from the arbitration that it is to judge.
void share_by_weight(std::int64_t capacity, std::span<const SimVm> vms,
                     std::span<const std::int64_t> wanted,
                     std::span<std::int64_t> granted);

}  // namespace outrider::sim
