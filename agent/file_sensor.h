// SPDX-License-Identifier: Apache-2.0
// The eyes of a host where BPF is not to be had: /proc, at 10 Hz.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <cstdint>
#include <vector>

#include "agent/base/result.h"
#include "agent/cgroup.h"
#include "agent/core/sample.h"
#include "agent/discovery.h"
#include "agent/proc.h"
#include "agent/sys/fd.h"
#include "agent/vm.h"

namespace outrider {

/// Raises this process's limit of open files as far as it may; gives the limit.
std::uint64_t raise_open_file_limit();

/// Run and wait from /proc/PID/task/TID/schedstat, kept open.
///
/// What it knows less well than BPF:
///  - The kernel adds a wait when it ends, and a run at a tick or switch: the
///    part in flight does not count until then.
///  - It cannot see when a busy period began. If a thread is runnable at a
///    read and has not slept since the read before (its count of voluntary
///    switches stands still), its busy period is taken to go on; if it has
///    slept, the new one is taken to hold all that it ran and waited since.
///    Both are upper bounds. Asleep, nothing is open.
///  - kRunning or kWaiting tells whether it ran at all since the last read, not
///    what it does now.
///  - wakeups counts how often it went to sleep; migrations, exits, halt
///    polling, guest time, all_runnable and blame stay 0.
/// A figure that cannot be read keeps its last value.
///
/// Invariant: threads of a VM are in the order that Sample asks for.
class FileSensor final : public Sensor {
 public:
  struct Limits {
    std::uint64_t files_max = 1024;  // kept open at most, two a thread
    Duration rescan_period = std::chrono::seconds{1};
  };

  /// `proc` and `cgroups` (nullptr: none) must outlive the sensor.
  FileSensor(const ProcRoot& proc, const CgroupTree* cgroups, Limits limits)
      : proc_(proc), cgroups_(cgroups), limits_(limits) {}

  /// Errors: ESRCH the process is gone; EEXIST.
  Result<> attach(const Vm& vm);
  /// Errors: ENOENT not attached.
  Result<> detach(VmId vm);
  const Sample& read(Instant now) override;
  /// The Sample that `read` gave, for what it does not fill in (throttling).
  Sample& sample() { return sample_; }
  std::uint64_t files_kept() const { return files_kept_; }

 private:
  struct Thread {
    ThreadId id{};
    VmThread thread;
    Fd schedstat;  // not open when there is no room: opened at each read
    Fd status;
    SchedStat first;  // figures count from the first read
    SchedStat last;
    std::uint64_t sleeps = 0;
    std::uint64_t first_sleeps = 0;
    std::uint64_t open_run_ns = 0;
    std::uint64_t open_wait_ns = 0;
    ThreadState state = ThreadState::kUnknown;
    // QEMU names a thread, and libvirt moves it, some time after its birth.
    int looks_left = 10;
  };
  struct Watched {
    VmId id{};
    VmIdentity identity;
    Fd task_dir;
    nlink_t links = 0;  // two more than it has threads
    Instant next_rescan{};
    std::vector<Thread> threads;
  };

  void rescan(Watched& vm, Instant now);
  void add_threads(Watched& vm, const std::vector<VmThread>& found);
  void look_again(Watched& vm);
  static bool needs_rescan(Watched& vm, Instant now);
  Result<Thread> open_thread(const VmThread& thread);
  void read_thread(Thread& thread);
  void note_state(Thread& thread, const SchedStat& now);
  void close_thread(Thread& thread);
  void emit(const Watched& vm);

  const ProcRoot& proc_;
  const CgroupTree* cgroups_;
  Limits limits_;
  std::vector<Watched> vms_;  // sorted by id
  Sample sample_;
  std::uint32_t next_thread_ = 1;
  std::uint64_t files_kept_ = 0;
  std::uint64_t lost_ = 0;
};

}  // namespace outrider
