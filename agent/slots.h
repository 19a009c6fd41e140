// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <queue>
#include <vector>

#include "agent/base/result.h"
#include "agent/base/units.h"
#include "agent/core/sample.h"
#include "agent/eyes.h"

namespace outrider {

/// When a VM's edges fire; zero switches one off.
struct EdgeThresholds {
  Duration quota_left{};      // remaining CPU quota at which to call, for each
                              // running vCPU
  Duration wait_in_window{};  // vCPU wait within 10 ms (EYES_WAIT_WINDOW_NS)
};

/// User space's side of the eyes' memory: gives slots to VMs and threads, takes
/// them back, and reads all of them as one Sample without a syscall.
///
/// Invariant: a thread slot is in exactly one of three places: the queue that
/// BPF takes from, `spare_`, or in use by one thread. A thread has a row of the
/// Sample from the read after `generation` rose.
class Slots {
 public:
  explicit Slots(Eyes eyes);

  /// A VM without threads yet. Errors: all VM slots are taken.
  Result<> open(VmId vm, pid_t tgid);
  /// Lets go of the VM and its threads; their slots are free after two reads.
  void close(VmId vm);
  /// A thread of the VM, unless it has a slot already: BPF may have been
  /// quicker. False if no slot is left, or the VM is gone.
  bool adopt(VmId vm, pid_t tid, ThreadClass thread_class);
  /// Lets go of a thread that ended while it was adopted: BPF did not see it.
  void disown(pid_t tid);
  /// Does nothing for a thread that is not ours, or is known to be a vCPU.
  void set_class(pid_t tid, ThreadClass thread_class);
  /// What its first entry into a guest does to a thread; for benchmarks.
  void pretend_vcpu(pid_t tid);
  void set_edges(VmId vm, EdgeThresholds thresholds);
  /// Marks this process's own thread, by which the clock pair is taken.
  void adopt_agent(pid_t tid);
  /// Whether that thread has been switched in, and both clocks taken, by now.
  bool has_clock() const;

  /// Sensor::read. Blame and throttling are not in this memory: their owner
  /// writes them into the Sample.
  Sample& read(Instant now);
  Sample& sample() { return sample_; }  // of the last read

  VmId vm_of_slot(std::uint32_t vm_slot) const;
  std::uint32_t slot_of_vm(VmId vm) const;  // 0: no such VM
  pid_t tgid_of(VmId vm) const;
  /// In use, the agent's own thread apart; for tests of what is left behind.
  std::size_t threads_in_use() const;
  std::size_t vms_in_use() const { return vm_slots_.size(); }

 private:
  // Where a row of the Sample comes from.
  struct Source {
    std::uint32_t slot = 0;
    std::uint32_t seq = 1;  // the record's when the row was made; odd: none
  };
  struct VmSlot {
    std::uint32_t slot = 0;
    pid_t tgid = 0;
  };

  // A slot that we gave a thread, until it is sure that BPF gave it none.
  struct Claim {
    std::uint32_t slot = 0;
    std::uint32_t looks = 0;   // rebuilds since
    std::uint32_t doubts = 0;  // at which the index did not lead to it
  };

  std::uint32_t take_slot();
  void forget(std::uint32_t slot);
  void release(std::uint32_t slot);
  void uncount(std::uint32_t slot);
  void refill_queue();
  void drain_retired();
  void rebuild();
  void check_claims();
  ThreadSample row_of(std::uint32_t slot, const ThreadSample* old) const;
  void collect();
  void index_vms();
  bool refresh_threads(const VmSample& vm, std::uint64_t now_rq);
  std::uint64_t rq_time(Instant now) const;

  Eyes eyes_;
  Sample sample_;  // rows of threads keep their figures from read to read
  std::vector<Source> sources_;         // beside sample_.threads
  std::vector<std::uint32_t> vm_rows_;  // VM slots, beside sample_.vms
  std::priority_queue<std::uint32_t, std::vector<std::uint32_t>,
                      std::greater<>>
      spare_;                           // lowest first
  std::vector<std::uint32_t> retired_;  // in no row any more: free next
  std::vector<Claim> claims_;
  std::vector<std::uint32_t> spare_vms_;
  std::vector<std::uint32_t> closed_vms_;  // since the last rebuild
  std::vector<std::uint32_t> retired_vms_;
  std::map<VmId, VmSlot> vm_slots_;
  std::vector<VmId> vm_of_slot_;  // 0 is no VM
  std::uint32_t agent_slot_ = 0;
  std::uint32_t slots_used_max_ = 0;  // no slot above it was ever in use
  std::uint32_t generation_seen_ = 0;
  bool stale_ = true;
};

}  // namespace outrider
