// SPDX-License-Identifier: Apache-2.0
// Demand: what a VM's threads would use if nothing limited them, from the
// difference of two Samples.
//
// For one thread let  want(t) = run + wait of the busy period open at t.
// Between two Samples the thread demanded  want(t1) - want(t0) - halt polling,
// but not less than nothing. So a busy period that begins and ends between them
// counts what it ran (its wait was only delay); one still open counts its wait
// too, because what it will run is not known yet: an upper bound. When it
// closes, the difference takes back what was counted too much, as far as the
// interval reaches; the rest is given as `overcounted`.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "agent/base/units.h"
#include "agent/core/sample.h"

namespace outrider {

/// Demand of one VM's threads of one class, averaged over the interval.
struct ClassDemand {
  MilliCpus demand;     // the figure to plan with; an upper bound if held
  MilliCpus open_wait;  // the part of it that may prove to be delay only
  MilliCpus usage;      // what ran, halt polling included
  MilliCpus halt_poll;
  MilliCpus wait;         // what users feel: runnable, not running
  MilliCpus overcounted;  // earlier demand that proved to be delay only
  // Time-weighted number of threads runnable at once, in thousandths.
  MilliCpus runnable;

  friend bool operator==(const ClassDemand&, const ClassDemand&) = default;
};

struct ThreadDemand {
  ThreadId id{};
  std::uint32_t tid = 0;
  std::uint16_t vcpu = 0;
  ThreadClass thread_class = ThreadClass::kEmulator;
  bool upper_bound = false;
  ClassDemand cpu;
};

struct VmDemand {
  VmId id{};
  bool upper_bound = false;  // some vCPU's busy period is open and it waited
  std::array<ClassDemand, kThreadClasses> by_class;
  ClassDemand total;
  MilliCpus throttled;       // throttled time per time, over all CPUs
  MilliCpus all_runnable;    // share of time with all vCPUs runnable, 0..1000
  std::uint64_t wakeups = 0;
  std::uint64_t migrations = 0;
  std::array<std::uint64_t, kExitClasses> exits{};  // in the interval
  std::uint32_t first_thread = 0;                   // into Demand::threads
  std::uint32_t thread_count = 0;
};

/// Invariant: `vms` and `threads` are in the order of the later Sample, and
/// hold only what was in both Samples: what has just come has no demand yet.
struct Demand {
  Duration interval{};
  std::vector<VmDemand> vms;
  std::vector<ThreadDemand> threads;
};

/// Turns successive Samples into Demand.
/// Invariant: holds the last Sample; allocates only when VMs or threads came.
class DemandSeries {
 public:
  /// Demand between the Sample of the call before and this one. The first call
  /// gives an empty Demand, as does one whose `taken` is not later.
  /// A counter that went back (a sensor started anew) counts as just come.
  const Demand& update(const Sample& sample);

 private:
  Sample last_;
  Demand demand_;
};

}  // namespace outrider
