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
// interval reaches; the rest is given as `overcounted`. Over a row of intervals
// demand less `overcounted` therefore sums to the change of `want`, less halt
// polling: nothing is lost and nothing counts twice.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "agent/base/units.h"
#include "agent/core/sample.h"

namespace outrider {

/// Demand of one VM's threads of one class, averaged over the interval.
/// Invariant: 0 <= open_wait <= demand, but for the rounding of each figure to
/// whole milli-CPUs; `demand - open_wait` is the certain part.
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
  // Its busy period is open, and more than 2 % of the interval is open wait.
  // Less is left unmarked: a vCPU that shares a CPU always waits a little, and
  // a figure off by 2 % of a CPU is none that a forecaster need censor.
  bool upper_bound = false;
  ClassDemand cpu;
  std::uint64_t wakeups = 0;
  std::uint64_t migrations = 0;
  std::array<std::uint64_t, kExitClasses> exits{};  // 0 unless it is a vCPU
};

/// Rounding: a class is the sum of its threads in nanoseconds, rounded once to
/// the nearest milli-CPU; `total` is the sum of the classes as rounded.
struct VmDemand {
  VmId id{};
  bool upper_bound = false;  // some vCPU's is
  std::array<ClassDemand, kThreadClasses> by_class;
  ClassDemand total;
  MilliCpus throttled;     // throttled time per time, over all CPUs
  MilliCpus all_runnable;  // share of time with all vCPUs runnable, 0..1000
  std::uint64_t wakeups = 0;
  std::uint64_t migrations = 0;
  std::array<std::uint64_t, kExitClasses> exits{};  // in the interval
  std::uint32_t first_thread = 0;                   // into Demand::threads
  std::uint32_t thread_count = 0;
  // Threads of the later Sample that count nothing yet: just come, asleep since
  // the attach, or with figures that cannot be. Above 0 the figures may leave
  // something out.
  std::uint32_t uncounted = 0;
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
///
/// What counts as just come, and so has no demand in this interval:
///   - a thread or VM that the Sample before did not hold, also one of a gap;
///   - a thread whose class or vcpu id has changed (found to be a vCPU by its
///     first kvm_entry): it has moved in the order that both Samples share;
///   - a thread whose state was kUnknown in either Sample;
///   - a thread whose run, wait or halt polling went back (a sensor started
///     anew) by more than 1 ms: less is the part in flight, which is estimated;
///   - one that ran, waited or polled longer than 1.5 intervals + 20 ms.
/// A thread that exited counts to its end. One that vanished without kExited
/// does not, and the wait credited to it is not taken back.
class DemandSeries {
 public:
  /// Demand between the Sample of the call before and this one. The first call
  /// gives an empty Demand, as does one whose `taken` is not later; the Sample
  /// is what the next call starts from either way.
  /// Shape: at most the VMs and threads of `sample`. Errors: none. Valid until
  /// the next call. Asserts that the Sample's index ranges lie within it.
  /// Properties (each has a test): conserves, certain part is not negative,
  /// no thread demands more than the interval, allocates nothing when warm.
  const Demand& update(const Sample& sample);

 private:
  Sample last_;
  bool started_ = false;
  Demand demand_;
};

}  // namespace outrider
