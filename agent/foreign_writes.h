// SPDX-License-Identifier: Apache-2.0
// Notices that somebody else wrote a knob: at once where its writer closes the
// file after it, as all but agents of this kind do, and else by looking at all
// knobs in turn. Own descriptors stay open, so own writes cost no event.
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

/// Costs one read(2) a tick while nobody writes, and each kRound one of each
/// knob that Outrider has set, spread over the ticks. Invariant: a `take` reads
/// at most kEventBytes of events and looks at each VM at most twice, however
/// often its files are written meanwhile.
class ForeignWrites {
 public:
  static constexpr std::size_t kEventBytes = 16UL * 1024;
  /// All VMs are looked at this often, whether there are events or not.
  static constexpr Duration kRound = std::chrono::milliseconds{500};

  static Result<ForeignWrites> make(const CgroupTree& tree);
  /// Readable when there may be something to take.
  int fd() const { return inotify_.get(); }
  /// To be told when fd() is readable. Once between two `take`s will do: who
  /// writes often must not set a loop's pace.
  void stir() { is_stirred_ = true; }

  /// `cgroups`: the directories of the VM's knobs, as attached.
  Result<> watch(VmId vm, std::span<const std::string> cgroups);
  void forget(VmId vm);

  /// True if nobody has closed a knob of the VM's after writing it since the
  /// last `take`, as far as `stir` was told. No syscall.
  bool is_quiet(VmId vm) const;

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
  void look_in_turn(Instant now, CgroupActuator& hands);

  Fd inotify_;
  std::string mount_;
  std::vector<Watch> watches_;  // sorted by number
  std::vector<Watched> vms_;    // sorted by id
  std::vector<ForeignWrite> found_;
  bool is_stirred_ = false;
  int rounds_behind_ = 0;  // to go since events were lost or left unread
  std::size_t next_ = 0;   // to be looked at in this round
  Instant round_began_{};
};

}  // namespace outrider
