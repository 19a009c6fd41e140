// SPDX-License-Identifier: Apache-2.0
// Sample: all cumulative counters read at one instant. Sorted, bounded, not
// interpreted: no rates, no decisions.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "agent/base/units.h"

namespace outrider {

enum class ThreadClass : std::uint8_t { kVcpu, kEmulator, kIothread, kVhost };
inline constexpr std::size_t kThreadClasses = 4;

enum class ThreadState : std::uint8_t {
  kUnknown,   // attached, but not seen to switch or wake yet: counts nothing
  kSleeping,  // no busy period open
  kWaiting,   // runnable, not on a CPU: queued, preempted or throttled
  kRunning,
  kExited,  // final figures; the row stays about a second, for every reader
};

enum class ExitClass : std::uint8_t {
  kHalt,
  kIo,
  kMmio,
  kMsr,
  kInterrupt,
  kPageFault,
  kOther,
};
inline constexpr std::size_t kExitClasses = 7;

/// One thread of an attached VM. All figures are cumulative since the thread
/// was first seen and include the part in flight at Sample::taken.
struct ThreadSample {
  ThreadId id{};
  VmId vm{};
  std::uint32_t tid = 0;   // for people; identity is `id`
  std::uint16_t vcpu = 0;  // KVM's vcpu id, for ThreadClass::kVcpu
  ThreadClass thread_class = ThreadClass::kEmulator;
  ThreadState state = ThreadState::kUnknown;
  std::uint64_t run_ns = 0;
  std::uint64_t wait_ns = 0;  // runnable, but not running; throttling included
  // Of the busy period (wake-up to next sleep) still open; 0 while asleep.
  std::uint64_t open_run_ns = 0;
  std::uint64_t open_wait_ns = 0;
  std::uint32_t wakeups = 0;     // wraps
  std::uint32_t migrations = 0;  // wraps

  friend bool operator==(const ThreadSample&, const ThreadSample&) = default;
};

/// What KVM says of one vCPU; beside the ThreadSample of the same vCPU.
struct VcpuSample {
  std::array<std::uint64_t, kExitClasses> exits{};
  std::uint64_t halt_poll_ns = 0;  // spun while halted; part of run_ns
  std::uint64_t guest_ns = 0;      // 0 unless `sense.guest_time` is on

  friend bool operator==(const VcpuSample&, const VcpuSample&) = default;
};

struct VmSample {
  VmId id{};
  std::uint32_t first_thread = 0;  // into Sample::threads
  std::uint32_t thread_count = 0;
  std::uint32_t first_vcpu = 0;  // into Sample::vcpus
  std::uint32_t vcpu_count = 0;  // the VM's first threads are its vCPUs
  // Time during which all vCPUs were runnable at once, cumulative.
  std::uint64_t all_runnable_ns = 0;
  // From cpu.stat of the VM's own cgroup, read at its own, slower pace.
  std::uint64_t throttled_ns = 0;  // summed over CPUs, as the kernel does
  std::uint64_t throttled_count = 0;

  friend bool operator==(const VmSample&, const VmSample&) = default;
};

/// Who held the CPU while a vCPU of `waiter` waited for it; sampled.
struct BlameSample {
  enum class Holder : std::uint8_t {
    kVm,        // holder_vm
    kHostTask,  // holder_pid, a process
    kIdle,      // nobody: the VM's own limit, or a wake-up on its way
  };
  VmId waiter{};
  Holder holder = Holder::kIdle;
  VmId holder_vm{};
  std::uint32_t holder_pid = 0;
  std::uint64_t wait_ns = 0;  // cumulative

  friend bool operator==(const BlameSample&, const BlameSample&) = default;
};

/// Invariant: `vms` is sorted by id; the threads of a VM are neighbours, sorted
/// by class, then vcpu, then ThreadId; `vcpus` follows the order of the vCPU
/// threads; `blame` is sorted by waiter.
struct Sample {
  Instant taken{};
  std::vector<VmSample> vms;
  std::vector<ThreadSample> threads;
  std::vector<VcpuSample> vcpus;
  std::vector<BlameSample> blame;
  std::uint64_t lost = 0;  // threads, VMs and events that did not fit so far

  friend bool operator==(const Sample&, const Sample&) = default;
};

/// The seam to the eyes. Two kinds exist: BPF, and files where BPF is not to be
/// had; tests bring a third.
class Sensor {
 public:
  virtual ~Sensor() = default;
  /// The Sample at `now`; it stays the sensor's and is valid until the next
  /// read. Allocates only when VMs or threads came or went.
  virtual const Sample& read(Instant now) = 0;
};

}  // namespace outrider
