// SPDX-License-Identifier: Apache-2.0
// A small host that schedules the threads of VMs and counts what the eyes
// would: deterministic, in steps of 100 us, with caps, time slices and halt
// polling. It knows what each thread wanted, so tests can compare.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "agent/core/sample.h"

namespace outrider {

/// Work that comes every `period`, from `offset` on. All in nanoseconds.
struct SimWork {
  std::int64_t period = 100'000'000;
  std::int64_t work = 0;
  std::int64_t offset = 0;
  std::int64_t halt_poll = 0;  // spins this long before it sleeps
};

/// Invariant: a thread with work to do is running or waiting; all vCPUs of a VM
/// were added one after another, VMs in rising order.
class SimThreads {
 public:
  static constexpr std::int64_t kStep = 100'000;
  static constexpr std::int64_t kSlice = 3'000'000;
  static constexpr std::int64_t kPeriod = 100'000'000;
  static constexpr std::int64_t kNoCap =
      std::numeric_limits<std::int64_t>::max();

  explicit SimThreads(std::size_t cpus) : cpus_(cpus) {}

  void add_vm(VmId id, std::int64_t quota = kNoCap) {
    vms_.push_back({.id = id, .quota = quota, .left = quota});
  }

  /// A vCPU of the VM added last.
  void add_vcpu(const SimWork& work) {
    Thread thread;
    thread.work = work;
    thread.vm = vms_.size() - 1;
    thread.seen.id = ThreadId{static_cast<std::uint32_t>(threads_.size())};
    thread.seen.vm = vms_.back().id;
    thread.seen.tid = static_cast<std::uint32_t>(1000 + threads_.size());
    thread.seen.vcpu = vms_.back().vcpus++;
    thread.seen.thread_class = ThreadClass::kVcpu;
    thread.seen.state = ThreadState::kSleeping;
    threads_.push_back(thread);
  }

  void set_quota(VmId id, std::int64_t quota) {
    for (Vm& vm : vms_) {
      if (vm.id == id) vm.quota = vm.left = quota;
    }
  }

  void run_for(std::chrono::nanoseconds time) {
    for (std::int64_t end = now_ + time.count(); now_ < end;) step();
  }

  Sample sample() const {
    Sample out;
    out.taken = Instant{Duration{now_}};
    for (const Vm& vm : vms_) {
      VmSample seen;
      seen.id = vm.id;
      seen.first_thread = static_cast<std::uint32_t>(out.threads.size());
      seen.first_vcpu = seen.first_thread;
      seen.thread_count = seen.vcpu_count = vm.vcpus;
      seen.throttled_ns = static_cast<std::uint64_t>(vm.throttled);
      for (const Thread& thread : threads_) {
        if (thread.seen.vm != vm.id) continue;
        out.threads.push_back(thread.seen);
        out.vcpus.push_back(thread.kvm);
      }
      out.vms.push_back(seen);
    }
    return out;
  }

 private:
  struct Vm {
    VmId id{};
    std::int64_t quota = kNoCap;  // in each kPeriod
    std::int64_t left = kNoCap;
    std::int64_t throttled = 0;
    std::uint16_t vcpus = 0;
  };
  struct Thread {
    SimWork work;
    std::size_t vm = 0;
    std::int64_t pending = 0;
    std::int64_t poll_left = 0;
    std::int64_t slice_end = 0;  // runs on until then
    std::int64_t queued_at = 0;  // the longest queued runs first
    ThreadSample seen;
    VcpuSample kvm;
  };

  void step() {
    if (now_ % kPeriod == 0) {
      for (Vm& vm : vms_) vm.left = vm.quota;
    }
    for (Thread& thread : threads_) wake_if_due(thread);
    pick();
    for (Thread& thread : threads_) account(thread);
    now_ += kStep;
    for (Thread& thread : threads_) sleep_if_done(thread);
  }

  void wake_if_due(Thread& thread) const {
    const SimWork& work = thread.work;
    if (now_ < work.offset || (now_ - work.offset) % work.period != 0) return;
    thread.pending += work.work;
    if (thread.seen.state != ThreadState::kSleeping) return;
    ++thread.seen.wakeups;
    thread.seen.state = ThreadState::kWaiting;
    thread.queued_at = now_;
  }

  /// Those within their slice stay; then the longest queued.
  void pick() {
    std::vector<Thread*> runnable;
    for (Thread& thread : threads_) {
      if (thread.seen.state == ThreadState::kSleeping) continue;
      const bool ran = thread.seen.state == ThreadState::kRunning;
      if (ran && now_ >= thread.slice_end) thread.queued_at = now_;
      runnable.push_back(&thread);
    }
    std::stable_sort(runnable.begin(), runnable.end(),
                     [this](const Thread* a, const Thread* b) {
                       return rank(*a) < rank(*b);
                     });
    std::size_t running = 0;
    for (Thread* thread : runnable) {
      Vm& vm = vms_[thread->vm];
      if (running == cpus_ || vm.left <= 0) {
        if (thread->seen.state == ThreadState::kRunning) {
          thread->queued_at = now_;
        }
        thread->seen.state = ThreadState::kWaiting;
        continue;
      }
      ++running;
      if (vm.quota != kNoCap) vm.left -= kStep;
      if (thread->seen.state != ThreadState::kRunning ||
          now_ >= thread->slice_end) {
        thread->slice_end = now_ + kSlice;
      }
      thread->seen.state = ThreadState::kRunning;
    }
  }

  std::pair<bool, std::int64_t> rank(const Thread& thread) const {
    const bool stays =
        thread.seen.state == ThreadState::kRunning && now_ < thread.slice_end;
    return {!stays, thread.queued_at};
  }

  void account(Thread& thread) {
    if (thread.seen.state == ThreadState::kWaiting) {
      thread.seen.wait_ns += kStep;
      thread.seen.open_wait_ns += kStep;
      if (vms_[thread.vm].left <= 0) vms_[thread.vm].throttled += kStep;
    } else if (thread.seen.state == ThreadState::kRunning) {
      thread.seen.run_ns += kStep;
      thread.seen.open_run_ns += kStep;
      if (thread.pending > 0) {
        thread.pending -= kStep;
        thread.poll_left = thread.work.halt_poll;
        if (thread.pending <= 0) ++thread.kvm.exits[0];
      } else {
        thread.kvm.halt_poll_ns += kStep;
        thread.poll_left -= kStep;
      }
    }
  }

  static void sleep_if_done(Thread& thread) {
    if (thread.seen.state != ThreadState::kRunning || thread.pending > 0 ||
        thread.poll_left > 0) {
      return;
    }
    thread.seen.state = ThreadState::kSleeping;
    thread.seen.open_run_ns = 0;
    thread.seen.open_wait_ns = 0;
  }

  std::size_t cpus_;
  std::int64_t now_ = 0;
  std::vector<Vm> vms_;
  std::vector<Thread> threads_;
};

}  // namespace outrider
