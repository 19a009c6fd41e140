// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>

#include "agent/base/units.h"
#include "agent/eyes.h"
#include "agent/slots.h"

namespace outrider {

/// The memory that the BPF programs share.
struct EyesMemory {
  eyes_thread threads[EYES_THREADS_MAX];
  eyes_vcpu vcpus[EYES_THREADS_MAX];
  eyes_vm vms[EYES_VMS_MAX];
  __u16 slot_of_pid[EYES_PIDS_MAX];
  __u16 free_slots[EYES_THREADS_MAX];
  __u32 free_head;
  __u32 free_tail;
  __u32 serial_last;
  __u32 generation;
  eyes_clock clock_pair;
  eyes_lost lost;
};

/// Does to that memory what bpf/slots.h and bpf/vcpu.bpf.c do, step by step,
/// for threads that live on a clock of the test's own.
class FakeEyes {
 public:
  enum class After : std::uint8_t { kSleeps, kWaits };

  FakeEyes() : memory_(std::make_unique<EyesMemory>()) {}
  Eyes eyes();
  EyesMemory& memory() { return *memory_; }

  // The clock. The scheduler's own is kRqLead ahead of it.
  static constexpr Duration kRqLead = std::chrono::seconds{77};
  void pass(Duration time) { now_ += time; }
  Instant now() const { return now_; }
  std::uint64_t rq_now() const;
  /// As when the agent's thread is switched in.
  void take_clock_pair();
  /// A tick of the agent: takes the clock pair, then reads.
  const Sample& tick(Slots& slots);

  // What a thread's kernel side does. Its run time is what it was on a CPU.
  void be_born(pid_t tid, pid_t tgid);  // on_wakeup_new
  void switch_in(pid_t tid, std::uint32_t cpu = 0);
  void switch_out(pid_t tid, After after);
  void wake(pid_t tid);
  void enter_guest(pid_t tid, std::uint32_t vcpu_id);
  void leave_guest(pid_t tid, eyes_exit why);
  void end(pid_t tid);

  // Halves of what BPF does in one go, for what comes in between.
  std::uint32_t fill_slot(pid_t tid, std::uint32_t vm);
  void publish(pid_t tid, std::uint32_t slot);
  std::uint32_t unlink(pid_t tid);
  void finish(std::uint32_t slot);

  /// Ran before the eyes were there to see it.
  void ran_before(pid_t tid, Duration time) { tasks_[tid].sum += time; }
  /// Of what the thread is on the CPU now, the kernel takes this for itself.
  void lose(pid_t tid, Duration time) { tasks_[tid].sum -= time; }

  std::uint32_t slot_of(pid_t tid) const;
  eyes_thread& thread(pid_t tid) { return memory_->threads[slot_of(tid)]; }
  eyes_vcpu& vcpu(pid_t tid) { return memory_->vcpus[slot_of(tid)]; }
  std::uint32_t queued() const;

  std::uint32_t slot_max = EYES_THREADS_MAX - 1;  // that there is memory for
  std::uint32_t slot_reached = 0;                 // the highest asked for
  std::function<void()> before_reach;             // called once

 private:
  struct Task {
    Duration sum{};  // se.sum_exec_runtime as of `in`
    Instant in{};
    bool on_cpu = false;
  };

  std::uint64_t sum_ns(pid_t tid);
  std::uint32_t take_slot();
  void vcpu_sleeps(std::uint32_t vm_slot);
  void vcpu_wakes(std::uint32_t vm_slot);
  static void begin_busy(eyes_thread& thread);

  std::unique_ptr<EyesMemory> memory_;
  Instant now_{std::chrono::hours{1}};
  std::map<pid_t, Task> tasks_;
};

}  // namespace outrider
