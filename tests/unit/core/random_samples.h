// SPDX-License-Identifier: Apache-2.0
// Random but possible Samples: threads that wake, wait, run and sleep at any
// instant; VMs and threads that come, go and turn out to be vCPUs.
#pragma once

#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

#include "agent/core/sample.h"

namespace outrider {

class RandomSamples {
 public:
  explicit RandomSamples(std::uint32_t seed) : random_(seed) {
    for (int i = 0; i < 4; ++i) add_vm();
  }

  /// The Sample `interval_ns` after the one before.
  Sample next(std::int64_t interval_ns) {
    drop_exited();
    for (Thread& thread : threads_) live(thread, interval_ns);
    taken_ += interval_ns;
    return sample();
  }

  void churn() {
    if (one_in(3)) add_vm();
    if (one_in(3) && !vms_.empty()) {
      vms_.erase(vms_.begin() + below(vms_.size()));
      std::erase_if(threads_, [this](const Thread& thread) {
        return std::ranges::find(vms_, thread.seen.vm, &VmSample::id) ==
               vms_.end();
      });
    }
    if (one_in(2) && !vms_.empty()) {
      add_thread(vms_[below(vms_.size())].id, ThreadClass::kEmulator);
    }
    if (one_in(2) && !threads_.empty()) {
      threads_[below(threads_.size())].exits = true;
    }
    if (one_in(4) && !threads_.empty()) {
      threads_[below(threads_.size())].seen.thread_class = ThreadClass::kVcpu;
    }
  }

  /// A number below `n`, which is above 0.
  std::uint32_t below(std::uint64_t n) {
    return static_cast<std::uint32_t>(random_() % n);
  }
  bool one_in(std::uint32_t n) { return below(n) == 0; }

 private:
  struct Thread {
    ThreadSample seen;
    VcpuSample kvm;
    bool exits = false;
  };

  void add_vm() {
    VmSample vm;
    vm.id = VmId{++last_vm_};
    vms_.push_back(vm);
    const std::uint32_t vcpus = 1 + below(4);
    for (std::uint32_t i = 0; i < vcpus; ++i) {
      add_thread(vm.id, ThreadClass::kVcpu).seen.vcpu =
          static_cast<std::uint16_t>(i);
    }
    add_thread(vm.id, ThreadClass::kEmulator);
    if (one_in(2)) add_thread(vm.id, ThreadClass::kVhost);
  }

  Thread& add_thread(VmId vm, ThreadClass thread_class) {
    Thread thread;
    thread.seen.id = ThreadId{++last_thread_};
    thread.seen.vm = vm;
    thread.seen.tid = 1 + below(4'000'000);
    thread.seen.thread_class = thread_class;
    thread.seen.state =
        one_in(4) ? ThreadState::kUnknown : ThreadState::kSleeping;
    threads_.push_back(thread);
    return threads_.back();
  }

  void drop_exited() {
    std::erase_if(threads_, [](const Thread& thread) {
      return thread.seen.state == ThreadState::kExited;
    });
  }

  /// Spends the interval in pieces of sleeping, waiting and running.
  void live(Thread& thread, std::int64_t left) {
    if (thread.seen.state == ThreadState::kUnknown && !one_in(3)) return;
    if (thread.seen.state == ThreadState::kUnknown) {
      thread.seen.state = ThreadState::kSleeping;
      thread.seen.run_ns = random_();  // the kernel's figure appears
    }
    while (left > 0) {
      const std::int64_t piece =
          one_in(4) ? left : 1 + below(static_cast<std::uint64_t>(left));
      spend(thread, static_cast<std::uint64_t>(piece));
      left -= piece;
      if (left > 0) switch_over(thread);
    }
    if (thread.exits) end(thread);
  }

  void spend(Thread& thread, std::uint64_t ns) {
    ThreadSample& seen = thread.seen;
    if (seen.state == ThreadState::kRunning) {
      seen.run_ns += ns;
      seen.open_run_ns += ns;
      if (seen.thread_class == ThreadClass::kVcpu && one_in(3)) {
        thread.kvm.halt_poll_ns += below(ns + 1);
      }
      ++thread.kvm.exits[below(kExitClasses)];
    } else if (seen.state == ThreadState::kWaiting) {
      seen.wait_ns += ns;
      seen.open_wait_ns += ns;
    }
  }

  void switch_over(Thread& thread) {
    ThreadSample& seen = thread.seen;
    if (seen.state == ThreadState::kSleeping) {
      ++seen.wakeups;
      seen.state = ThreadState::kWaiting;
    } else if (seen.state == ThreadState::kWaiting) {
      seen.state = ThreadState::kRunning;
      if (one_in(5)) ++seen.migrations;
    } else if (one_in(2)) {
      seen.state = ThreadState::kWaiting;  // preempted
    } else {
      seen.state = ThreadState::kSleeping;
      seen.open_run_ns = seen.open_wait_ns = 0;
    }
  }

  static void end(Thread& thread) {
    thread.seen.state = ThreadState::kExited;
    thread.seen.open_run_ns = thread.seen.open_wait_ns = 0;
  }

  Sample sample() {
    std::ranges::sort(threads_, [](const Thread& a, const Thread& b) {
      return std::tie(a.seen.vm, a.seen.thread_class, a.seen.vcpu, a.seen.id) <
             std::tie(b.seen.vm, b.seen.thread_class, b.seen.vcpu, b.seen.id);
    });
    Sample out;
    out.taken = Instant{Duration{taken_}};
    out.lost = taken_ > 0 ? below(3) : 0;
    for (VmSample& vm : vms_) {
      vm.all_runnable_ns += below(1'000'000);
      vm.throttled_ns += one_in(3) ? below(1'000'000) : 0;
      append(vm, out);
    }
    return out;
  }

  void append(VmSample vm, Sample& out) {
    vm.first_thread = static_cast<std::uint32_t>(out.threads.size());
    vm.first_vcpu = static_cast<std::uint32_t>(out.vcpus.size());
    for (const Thread& thread : threads_) {
      if (thread.seen.vm != vm.id) continue;
      out.threads.push_back(thread.seen);
      if (thread.seen.thread_class == ThreadClass::kVcpu) {
        out.vcpus.push_back(thread.kvm);
      }
    }
    vm.thread_count =
        static_cast<std::uint32_t>(out.threads.size()) - vm.first_thread;
    vm.vcpu_count =
        static_cast<std::uint32_t>(out.vcpus.size()) - vm.first_vcpu;
    out.vms.push_back(vm);
    if (one_in(2)) {
      out.blame.push_back({.waiter = vm.id,
                           .holder = BlameSample::Holder::kHostTask,
                           .holder_pid = below(99'999),
                           .wait_ns = random_()});
    }
  }

  std::mt19937 random_;
  std::uint32_t last_vm_ = 0;
  std::uint32_t last_thread_ = 0;
  std::int64_t taken_ = 1'000'000'000;
  std::vector<VmSample> vms_;
  std::vector<Thread> threads_;
};

}  // namespace outrider
