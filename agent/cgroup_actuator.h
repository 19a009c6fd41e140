// SPDX-License-Identifier: Apache-2.0
// The hands for CPU: Plans to the files of cgroup v2, and the baselines back.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "agent/base/result.h"
#include "agent/baseline/table.h"
#include "agent/cgroup.h"
#include "agent/core/plan.h"
#include "agent/vm_knobs.h"

namespace outrider {

/// What `attach` found of a VM.
struct AttachedKnobs {
  MilliCpus cap = kNoCap;            // cpu.max of its own cgroup, as it is now
  std::vector<std::string> cgroups;  // to watch, below the mount
  std::vector<Error> missing;        // knobs that are not there or not ours
};

/// A knob that Outrider has set, and what it gets back.
struct HeldBaseline {
  std::string cgroup;     // below the mount
  std::string attribute;  // "cpu.max"
  std::string present;    // empty: it cannot be read
  std::string baseline;
  bool is_ours = false;  // false: somebody else has written since; it stays
};

/// Somebody else's value in a knob that Outrider had set.
struct ForeignWrite {
  VmId vm{};
  Knob knob = Knob::kCpuMax;
  std::uint16_t index = 0;
  std::int64_t value = 0;  // as Action::value

  friend bool operator==(const ForeignWrite&, const ForeignWrite&) = default;
};

/// Invariants: a knob is written only after its baseline is in the table; never
/// while the table's generation is not the one that was adopted last; never
/// with what it holds already, as that would refill the kernel's bucket.
class CgroupActuator : public Actuator {
 public:
  /// Both outlive this.
  CgroupActuator(const CgroupTree& tree, BaselineTable& table);

  /// Opens the VM's knobs; writes nothing. Errors: as VmKnobs::open; EEXIST.
  Result<AttachedKnobs> attach(const Vm& vm, const KnobOptions& options);
  /// Puts back what it still can, then closes the VM's files.
  Result<> detach(VmId vm);

  /// One pread, pwrite, pread an Action; a knob's first write tells the table
  /// of its baseline as well. Where a cap meets the burst, the burst's write
  /// goes along with it. After a rise of the table's generation every Action is
  /// kUnconfirmed with ECANCELED until `adopt_all`, and what this phase had
  /// written is back at its baseline.
  void apply(std::span<const Action> plan,
             std::span<Outcome> outcomes) override;
  /// As `apply`, for a caller who knows that nobody else has written since he
  /// last looked: without the first pread, where what that would give is known.
  void apply_at_once(std::span<const Action> plan, std::span<Outcome> outcomes);

  /// Takes what the knobs say now as settled. What somebody else wrote (the
  /// warden, too) becomes the baseline of the next write; what is still ours
  /// keeps its own. Errors: the VM is gone.
  Result<> adopt(VmId vm);
  /// The same of all VMs, and the table's generation: writing goes on.
  void adopt_all();

  /// Puts back the baselines of knobs that still say what was written there,
  /// and leaves the others to whoever wrote them; forgets the records. The VM
  /// stays attached. Errors: one that was not taken; its record stays.
  Result<> restore(VmId vm);
  Result<> restore_all();
  /// What `restore_all` would put back now. One pread a knob.
  std::vector<HeldBaseline> held() const;

  /// The cap that the VM's cgroup says now. Errors: not attached, gone.
  Result<MilliCpus> read_cap(VmId vm);
  /// Appends what somebody else has written into knobs that Outrider had set,
  /// unless that was reported before, here or as kForeign. One pread a knob.
  void find_foreign(VmId vm, std::vector<ForeignWrite>& found);
  /// How often a file was written, failures too.
  std::uint64_t writes() const { return writes_; }
  /// When the last of them returned.
  Instant written_at() const { return written_at_; }

 private:
  VmKnobs* find(VmId vm);
  bool is_current() const { return table_->generation() == generation_; }
  Outcome carry_out(const Action& action);
  Outcome set_cap(VmKnobs& vm, HeldKnob& quota, const Action& action);
  Outcome set_burst(VmKnobs& vm, HeldKnob& burst, const Action& action);
  Outcome set_idle(VmKnobs& vm, HeldKnob& idle, const Action& action);
  Outcome set(HeldKnob& knob, Reason reason, const KnobValue& wanted);
  KnobReading look(const HeldKnob& knob) const;
  Outcome write(HeldKnob& knob, const KnobValue& now, const KnobValue& wanted);
  int touch(HeldKnob& knob, const KnobValue& now);
  int write_text(HeldKnob& knob, const KnobValue& text);
  void forget(HeldKnob& knob);
  void adopt(HeldKnob& knob, const KnobValue& now);
  Result<> restore(VmKnobs& vm);
  Result<> put_back(HeldKnob& knob);

  const CgroupTree* tree_;
  BaselineTable* table_;
  std::uint64_t generation_;
  std::uint64_t writes_ = 0;
  Instant written_at_{};
  bool at_once_ = false;      // within apply_at_once
  std::vector<VmKnobs> vms_;  // sorted by id
};

}  // namespace outrider
