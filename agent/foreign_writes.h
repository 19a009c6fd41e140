// SPDX-License-Identifier: Apache-2.0
// Notices that somebody else wrote a knob. inotify tells of own writes as well,
// without a pid, and joins neighbouring events: so it only says where to look.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "agent/base/result.h"
#include "agent/base/units.h"
#include "agent/cgroup.h"
#include "agent/cgroup_actuator.h"
#include "agent/sys/fd.h"

namespace outrider {

/// Costs one read(2) a tick while nobody writes. Invariant: a `take` reads at
/// most kEventBytes of events and looks at each VM at most once, however often
/// its files are written meanwhile.
class ForeignWrites {
 public:
  static constexpr std::size_t kEventBytes = 16UL * 1024;
  // Where writers are faster than `take`, all VMs are looked at this often.
  static constexpr Duration kSweepPeriod = std::chrono::milliseconds{500};

  static Result<ForeignWrites> make(const CgroupTree& tree);
  /// Readable when there may be something to take. A loop that ticks needs no
  /// wake-up by it: own writes would wake it too.
  int fd() const { return inotify_.get(); }

  /// `cgroups`: the directories of the VM's knobs, as attached.
  Result<> watch(VmId vm, std::span<const std::string> cgroups);
  void forget(VmId vm);

  /// True if no knob of the VM was written by anybody, others or not, since
  /// the last `take`. One read(2).
  bool is_quiet(VmId vm);

  /// What others have written since the last call, each value once. To be
  /// called each tick; does not block. Valid until the next call.
  std::span<const ForeignWrite> take(Instant now, CgroupActuator& hands);

 private:
  struct Watch {
    int number = 0;
    VmId vm{};
  };
  struct Watched {
    VmId vm{};
    bool changed = false;
    bool complete = false;  // all its directories are watched
  };

  ForeignWrites(Fd inotify, std::string mount)
      : inotify_(std::move(inotify)), mount_(std::move(mount)) {}
  void drain();
  void mark(int watch);

  Fd inotify_;
  std::string mount_;
  std::vector<Watch> watches_;  // sorted by number
  std::vector<Watched> vms_;    // sorted by id
  std::vector<ForeignWrite> found_;
  bool behind_ = false;  // events were lost, or are left unread
  Instant swept_{};
};

}  // namespace outrider
