// SPDX-License-Identifier: Apache-2.0
// The knobs of one VM, and in which of its cgroups each of them is.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "agent/base/result.h"
#include "agent/base/units.h"
#include "agent/baseline/table.h"
#include "agent/cgroup.h"
#include "agent/core/plan.h"
#include "agent/core/policy.h"
#include "agent/knob_file.h"
#include "agent/vm.h"

namespace outrider {

/// Who sets cpu.weight and cpu.idle where VMs are siblings.
enum class WeightOwner : std::uint8_t {
  kNobody,    // the policy wants none
  kOutrider,  // by the files
  kSystemd,   // the unit's own attributes are its: not by the files
};
/// True where systemd runs the host, as sd_booted(3) finds out.
bool has_systemd();

/// Where a VM with this own cgroup has siblings: the scope around `libvirt`.
std::string sibling_cgroup(const std::string& cgroup);

struct KnobOptions {
  Split split = Split::kPooled;
  Duration cap_period = std::chrono::milliseconds{100};
  WeightOwner weights = WeightOwner::kOutrider;
};

/// One knob of one cgroup, kept open.
/// Invariant: `slot` is set from the first write until the baseline is back.
struct HeldKnob {
  Knob knob = Knob::kCpuMax;
  std::uint16_t index = 0;  // of the vCPU
  KnobFile file;
  KnobBaseline origin;  // whose knob it is; `baseline` is scratch
  std::optional<BaselineSlot> slot;
  KnobValue settled;    // what it said when it was last opened, set or adopted
  KnobValue announced;  // what was last written, taken or not
  std::optional<KnobValue> told;  // of others, and reported, since then
};

/// Invariant: every knob belongs to the cgroups that were there at `open`, the
/// VM's own being the one that its identity names; cpu.max is among them.
class VmKnobs {
 public:
  /// The VM's own cgroup (`libvirt` inside the scope, in libvirt's layout) has
  /// cpu.max and cpu.max.burst; its children vcpuN the vCPUs' cpu.max; weight
  /// and idle are where VMs are siblings: at the scope. What is not there or
  /// not ours is said in `missing`. Errors: the cgroup is gone or another one's
  /// now (ESTALE); no cpu.max in it.
  static Result<VmKnobs> open(const CgroupTree& tree, const Vm& vm,
                              const KnobOptions& options);

  VmId vm() const { return vm_; }
  Duration cap_period() const { return cap_period_; }
  /// nullptr: this VM has no such knob.
  HeldKnob* find(Knob knob, std::uint16_t index = 0);
  /// cpu.max first, cpu.max.burst next if it is there; weight after idle.
  std::vector<HeldKnob>& all() { return knobs_; }
  const std::vector<HeldKnob>& all() const { return knobs_; }
  /// Directories below the mount that hold its knobs, each once.
  const std::vector<std::string>& cgroups() const { return cgroups_; }
  /// What the VM lacks of what the options ask for, for people; mostly empty.
  const std::vector<Error>& missing() const { return missing_; }

  // cpu.max.burst as it is wanted; the file may say less, as the kernel takes
  // no more than the quota.
  std::int64_t burst_wanted_us = 0;

 private:
  VmKnobs(VmId vm, Duration cap_period) : vm_(vm), cap_period_(cap_period) {}
  struct Place;
  Result<> add(const Place& place, Knob knob, std::uint16_t index);
  void add_vcpus(const CgroupTree& tree, const Place& own);
  void add_weights(const Place& own, WeightOwner owner);

  VmId vm_;
  Duration cap_period_;
  std::vector<HeldKnob> knobs_;
  std::vector<std::string> cgroups_;
  std::vector<Error> missing_;
};

}  // namespace outrider
