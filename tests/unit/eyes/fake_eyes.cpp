// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/eyes/fake_eyes.h"

#include <algorithm>
#include <utility>

namespace outrider {

Eyes FakeEyes::eyes() {
  EyesMemory& memory = *memory_;
  return Eyes{.threads = memory.threads,
              .vcpus = memory.vcpus,
              .vms = memory.vms,
              .free_slots = memory.free_slots,
              .free_head = &memory.free_head,
              .free_tail = &memory.free_tail,
              .serial_last = &memory.serial_last,
              .generation = &memory.generation,
              .clock_pair = &memory.clock_pair,
              .lost = &memory.lost,
              .index = [&memory](pid_t tid) -> __u16& {
                return memory.slot_of_pid[tid];
              },
              .reach =
                  [this](std::uint32_t slot) {
                    if (const auto call = std::exchange(before_reach, {})) {
                      call();
                    }
                    slot_reached = std::max(slot_reached, slot);
                    return slot <= slot_max;
                  }};
}

std::uint64_t FakeEyes::rq_now() const {
  return static_cast<std::uint64_t>(
      (now_.time_since_epoch() + kRqLead).count());
}

void FakeEyes::take_clock_pair() {
  memory_->clock_pair.seq += 2;
  memory_->clock_pair.monotonic_ns =
      static_cast<__u64>(now_.time_since_epoch().count());
  memory_->clock_pair.rq_ns = rq_now();
}

const Sample& FakeEyes::tick(Slots& slots) {
  take_clock_pair();
  return slots.read(now_);
}

std::uint32_t FakeEyes::slot_of(pid_t tid) const {
  return memory_->slot_of_pid[tid];
}

std::uint32_t FakeEyes::queued() const {
  return memory_->free_tail - memory_->free_head;
}

std::uint64_t FakeEyes::sum_ns(pid_t tid) {
  Task& task = tasks_[tid];
  if (task.on_cpu) task.sum += now_ - task.in;
  task.in = now_;
  return static_cast<std::uint64_t>(task.sum.count());
}

void FakeEyes::vcpu_sleeps(std::uint32_t vm_slot) {
  eyes_vm& vm = memory_->vms[vm_slot];
  if (vm.asleep++ == 0) vm.all_runnable_ns += rq_now();
}

void FakeEyes::vcpu_wakes(std::uint32_t vm_slot) {
  eyes_vm& vm = memory_->vms[vm_slot];
  if (vm.asleep-- == 1) vm.all_runnable_ns -= rq_now();
}

void FakeEyes::begin_busy(eyes_thread& thread) {
  thread.busy_run_ns = thread.run_ns;
  thread.busy_wait_ns = thread.wait_ns;
}

std::uint32_t FakeEyes::take_slot() {
  if (queued() == 0) {
    ++memory_->lost.threads;
    return 0;
  }
  return memory_->free_slots[memory_->free_head++ % EYES_THREADS_MAX];
}

std::uint32_t FakeEyes::fill_slot(pid_t tid, std::uint32_t vm) {
  const std::uint32_t slot = take_slot();
  if (slot == 0) return 0;
  memory_->threads[slot] = eyes_thread{};
  memory_->vcpus[slot] = eyes_vcpu{};
  memory_->threads[slot].vm = static_cast<__u16>(vm);
  memory_->threads[slot].class_ = EYES_EMULATOR;
  memory_->threads[slot].tid = static_cast<__u32>(tid);
  memory_->vcpus[slot].serial = ++memory_->serial_last;
  ++memory_->vms[vm].threads;
  return slot;
}

void FakeEyes::publish(pid_t tid, std::uint32_t slot) {
  memory_->slot_of_pid[tid] = static_cast<__u16>(slot);
  ++memory_->generation;
}

void FakeEyes::be_born(pid_t tid, pid_t tgid) {
  const std::uint32_t leader = slot_of(tgid);
  if (leader == 0) return;
  if (slot_of(tid) == 0) {
    const std::uint32_t slot = fill_slot(tid, memory_->threads[leader].vm);
    if (slot == 0) return;
    publish(tid, slot);
  }
  wake(tid);
}

void FakeEyes::switch_in(pid_t tid, std::uint32_t cpu) {
  const std::uint64_t sum = sum_ns(tid);
  tasks_[tid].on_cpu = true;
  if (slot_of(tid) == 0) return;
  eyes_thread& record = thread(tid);
  if (record.state == EYES_WAITING) {
    record.wait_ns += rq_now() - record.since;
  } else {
    record.run_ns = sum;
    begin_busy(record);
    if (record.class_ == EYES_VCPU) vcpu_wakes(record.vm);
  }
  record.since = rq_now();
  record.state = EYES_RUNNING;
  if (record.cpu != cpu) {
    record.cpu = cpu;
    ++record.migrations;
  }
  record.seq += 2;
}

void FakeEyes::switch_out(pid_t tid, After after) {
  const std::uint64_t sum = sum_ns(tid);
  tasks_[tid].on_cpu = false;
  if (slot_of(tid) == 0) return;
  eyes_thread& record = thread(tid);
  record.run_ns = sum;
  record.since = rq_now();
  if (after == After::kWaits) {
    if (record.state == EYES_UNKNOWN) begin_busy(record);
    record.state = EYES_WAITING;
  } else {
    if (record.class_ == EYES_VCPU && record.state > EYES_SLEEPING) {
      vcpu_sleeps(record.vm);
    }
    record.state = EYES_SLEEPING;
  }
  record.seq += 2;
}

void FakeEyes::wake(pid_t tid) {
  if (slot_of(tid) == 0) return;
  eyes_thread& record = thread(tid);
  if (record.state > EYES_SLEEPING) return;
  if (record.state == EYES_UNKNOWN) record.run_ns = sum_ns(tid);
  begin_busy(record);
  record.since = rq_now();
  record.state = EYES_WAITING;
  ++record.wakeups;
  if (record.class_ == EYES_VCPU) vcpu_wakes(record.vm);
  record.seq += 2;
}

void FakeEyes::enter_guest(pid_t tid, std::uint32_t vcpu_id) {
  eyes_thread& record = thread(tid);
  if (slot_of(tid) == 0 || record.class_ == EYES_VCPU) return;
  eyes_vm& vm = memory_->vms[record.vm];
  vcpu(tid).vcpu_id = vcpu_id;
  record.class_ = EYES_VCPU;
  if (record.state == EYES_UNKNOWN) {
    record.run_ns = sum_ns(tid);
    begin_busy(record);
    record.since = rq_now();
    record.state = EYES_RUNNING;
  }
  record.seq += 2;
  if (vm.vcpus++ == 0) vm.all_runnable_ns -= rq_now();
  ++memory_->generation;
}

void FakeEyes::leave_guest(pid_t tid, eyes_exit why) { ++vcpu(tid).exits[why]; }

std::uint32_t FakeEyes::unlink(pid_t tid) {
  const std::uint32_t slot = slot_of(tid);
  memory_->slot_of_pid[tid] = 0;
  return slot;
}

void FakeEyes::finish(std::uint32_t slot) {
  if (slot == 0) return;
  eyes_thread& record = memory_->threads[slot];
  eyes_vm& vm = memory_->vms[record.vm];
  if (record.state == EYES_RUNNING) record.run_ns += rq_now() - record.since;
  if (record.class_ == EYES_VCPU && --vm.vcpus == 0) {
    vm.all_runnable_ns += rq_now();
  }
  record.since = rq_now();
  record.state = EYES_DEAD;
  record.seq += 2;
  ++memory_->generation;
  --vm.threads;
}

void FakeEyes::end(pid_t tid) {
  finish(unlink(tid));
  tasks_.erase(tid);
}

}  // namespace outrider
