// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "agent/base/result.h"
#include "agent/base/units.h"
#include "agent/cgroup.h"
#include "agent/core/sample.h"
#include "agent/vm.h"

namespace outrider {

/// What cpu.stat says of throttling, beside either Sensor: neither reads it.
/// One descriptor a VM is kept, so a figure is always of the cgroup that was
/// attached, never of a later one with its name.
/// Invariant: sorted by id; a figure that cannot be read keeps its last value.
class ThrottleReader {
 public:
  /// Errors: no cgroup of its own; cpu.stat cannot be opened, or says nothing
  /// of throttling (no cpu controller there). The VM then stays at zero.
  Result<> attach(const Vm& vm, const CgroupTree& tree);
  void detach(VmId vm);
  /// One pread a VM: for the slow period, not for every tick.
  void read_all();
  /// Puts the last figures into the sample's VMs.
  void fill(Sample& sample) const;

 private:
  struct Watched {
    VmId vm{};
    CpuStatFile file;
    CpuStat first;  // figures count from the moment of attachment
    CpuStat last;
  };
  std::vector<Watched> watched_;
};

}  // namespace outrider
