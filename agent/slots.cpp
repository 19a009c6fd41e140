// SPDX-License-Identifier: Apache-2.0
#include "agent/slots.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cassert>
#include <cstring>
#include <tuple>

namespace outrider {
namespace {

// How many free slots wait in BPF's queue: the most threads that can come
// between two ticks. The rest are kept here, lowest first, so that the slots in
// use stay together and a walk over them short.
constexpr std::uint32_t kQueuedMax = 2048;

// A writer needs some tens of ns; it can be held up by an interrupt.
constexpr int kReadTriesMax = 64;

constexpr VmId kNoVm{};

template <class T>
T load(const T& word) {
  return __atomic_load_n(&word, __ATOMIC_ACQUIRE);
}

template <class T>
void store(T& word, T value) {
  __atomic_store_n(&word, value, __ATOMIC_RELEASE);
}

// `source` may be written meanwhile: word by word, checked by its `seq`, which
// is the first 32 bits. False when no quiet moment was found.
template <class Record>
bool read_quietly(const Record& source, Record& out) {
  static_assert(sizeof(Record) % sizeof(std::uint64_t) == 0);
  constexpr std::size_t kWords = sizeof(Record) / sizeof(std::uint64_t);
  const auto* words = reinterpret_cast<const std::uint64_t*>(&source);
  std::array<std::uint64_t, kWords> copy;
  for (int i = 0; i < kReadTriesMax; ++i) {
    const std::uint32_t before = load(source.seq);
    for (std::size_t w = 0; w < kWords; ++w) {
      copy[w] = __atomic_load_n(&words[w], __ATOMIC_RELAXED);
    }
    std::atomic_thread_fence(std::memory_order_acquire);
    const std::uint32_t after = __atomic_load_n(&source.seq, __ATOMIC_RELAXED);
    if (before == after && (before & 1) == 0) {
      out = std::bit_cast<Record>(copy);
      return true;
    }
  }
  return false;
}

std::uint64_t since(std::uint64_t now, std::uint64_t then) {
  return now > then ? now - then : 0;
}

ThreadClass class_of(std::uint8_t eyes_class) {
  return eyes_class > EYES_VHOST ? ThreadClass::kEmulator
                                 : ThreadClass{eyes_class};
}

}  // namespace

Slots::Slots(Eyes eyes) : eyes_(eyes) {
  for (std::uint32_t slot = EYES_THREADS_MAX - 1; slot > 0; --slot) {
    spare_.push_back(slot);
  }
  for (std::uint32_t slot = EYES_VMS_MAX - 1; slot > EYES_VM_AGENT; --slot) {
    spare_vms_.push_back(slot);
  }
  vm_of_slot_.resize(EYES_VMS_MAX);
  refill_queue();
}

// BPF takes from the head, both sides by compare and swap; only we add.
void Slots::refill_queue() {
  std::uint32_t tail = *eyes_.free_tail;
  while (tail - load(*eyes_.free_head) < kQueuedMax && !spare_.empty()) {
    eyes_.free_slots[tail % EYES_THREADS_MAX] =
        static_cast<__u16>(spare_.back());
    slots_used_max_ = std::max(slots_used_max_, spare_.back());
    spare_.pop_back();
    store(*eyes_.free_tail, ++tail);
  }
}

std::uint32_t Slots::take_slot() {
  if (spare_.empty()) return 0;
  const std::uint32_t slot = spare_.back();
  spare_.pop_back();
  slots_used_max_ = std::max(slots_used_max_, slot);
  return slot;
}

void Slots::release(std::uint32_t slot) {
  std::memset(&eyes_.threads[slot], 0, sizeof(eyes_thread));
  std::memset(&eyes_.vcpus[slot], 0, sizeof(eyes_vcpu));
  spare_.insert(std::upper_bound(spare_.begin(), spare_.end(), slot,
                                 std::greater<>()),
                slot);
}

Result<> Slots::open(VmId vm, pid_t tgid) {
  if (spare_vms_.empty()) {
    return fail(0, "all " + std::to_string(EYES_VMS_MAX - 2) +
                       " VM slots are taken");
  }
  const std::uint32_t slot = spare_vms_.back();
  spare_vms_.pop_back();
  std::memset(&eyes_.vms[slot], 0, sizeof(eyes_vm));
  eyes_.vms[slot].tgid = static_cast<__u32>(tgid);
  vm_slots_[static_cast<std::uint32_t>(vm)] = VmSlot{slot, tgid};
  vm_of_slot_[slot] = vm;
  stale_ = true;
  return {};
}

void Slots::close(VmId vm) {
  const auto it = vm_slots_.find(static_cast<std::uint32_t>(vm));
  if (it == vm_slots_.end()) return;
  rebuild();  // threads that BPF adopted since the last read
  for (const Entry& entry : entries_) {
    if (entry.vm != vm) continue;
    eyes_thread& thread = eyes_.threads[entry.slot];
    __u16& index = eyes_.slot_of_pid[thread.tid % EYES_PIDS_MAX];
    if (load(index) == entry.slot) store(index, __u16{0});
    store(thread.state, __u8{EYES_DEAD});
    retired_.push_back(entry.slot);
  }
  retired_vms_.push_back(it->second.slot);
  vm_of_slot_[it->second.slot] = kNoVm;
  vm_slots_.erase(it);
  stale_ = true;
}

bool Slots::adopt(VmId vm, pid_t tid, ThreadClass thread_class) {
  __u16& index = eyes_.slot_of_pid[static_cast<__u32>(tid) % EYES_PIDS_MAX];
  if (load(index) != 0) return true;
  const std::uint32_t slot = take_slot();
  if (slot == 0) return false;
  eyes_thread& thread = eyes_.threads[slot];
  thread = eyes_thread{};
  thread.vm = static_cast<__u16>(slot_of_vm(vm));
  thread.class_ = static_cast<__u8>(thread_class);
  thread.tid = static_cast<__u32>(tid);
  eyes_.vcpus[slot] = eyes_vcpu{};
  eyes_.vcpus[slot].serial =
      __atomic_add_fetch(eyes_.serial_last, 1, __ATOMIC_RELAXED);
  __atomic_add_fetch(&eyes_.vms[thread.vm].threads, 1, __ATOMIC_RELAXED);
  if (thread_class == ThreadClass::kVcpu) {
    // A guess by name: the first entry into the guest makes it one.
    thread.class_ = EYES_EMULATOR;
  }
  __u16 none = 0;
  __atomic_compare_exchange_n(&index, &none, static_cast<__u16>(slot), false,
                              __ATOMIC_RELEASE, __ATOMIC_RELAXED);
  stale_ = true;
  return true;
}

void Slots::adopt_agent(pid_t tid) {
  agent_slot_ = take_slot();
  assert(agent_slot_ != 0);
  eyes_thread& thread = eyes_.threads[agent_slot_];
  thread = eyes_thread{};
  thread.vm = EYES_VM_AGENT;
  thread.class_ = EYES_AGENT;
  thread.tid = static_cast<__u32>(tid);
  store(eyes_.slot_of_pid[static_cast<__u32>(tid) % EYES_PIDS_MAX],
        static_cast<__u16>(agent_slot_));
}

void Slots::set_class(pid_t tid, ThreadClass thread_class) {
  const std::uint32_t slot =
      load(eyes_.slot_of_pid[static_cast<__u32>(tid) % EYES_PIDS_MAX]);
  if (slot == 0 || thread_class == ThreadClass::kVcpu) return;
  eyes_thread& thread = eyes_.threads[slot];
  if (thread.class_ == EYES_VCPU || thread.class_ == EYES_AGENT) return;
  store(thread.class_, static_cast<__u8>(thread_class));
  stale_ = true;
}

void Slots::set_edges(VmId vm, EdgeThresholds thresholds) {
  const std::uint32_t slot = slot_of_vm(vm);
  if (slot == 0) return;
  store(eyes_.vms[slot].quota_edge_ns,
        static_cast<__u64>(thresholds.quota_left.count()));
  store(eyes_.vms[slot].wait_edge_ns,
        static_cast<__u64>(thresholds.wait_in_window.count()));
}

VmId Slots::vm_of_slot(std::uint32_t vm_slot) const {
  return vm_slot < vm_of_slot_.size() ? vm_of_slot_[vm_slot] : kNoVm;
}

std::uint32_t Slots::slot_of_vm(VmId vm) const {
  const auto it = vm_slots_.find(static_cast<std::uint32_t>(vm));
  return it == vm_slots_.end() ? 0 : it->second.slot;
}

pid_t Slots::tgid_of(VmId vm) const {
  const auto it = vm_slots_.find(static_cast<std::uint32_t>(vm));
  return it == vm_slots_.end() ? 0 : it->second.tgid;
}

std::size_t Slots::threads_in_use() const {
  const std::uint32_t queued = *eyes_.free_tail - load(*eyes_.free_head);
  const std::size_t agent = agent_slot_ == 0 ? 0 : 1;
  return EYES_THREADS_MAX - 1 - spare_.size() - queued - agent;
}

Duration Slots::agent_run() const {
  return Duration{static_cast<Duration::rep>(
      load(eyes_.threads[agent_slot_].run_ns))};
}

void Slots::drain_retired() {
  if (retired_.empty() && retired_vms_.empty()) return;
  for (const std::uint32_t slot : retired_) release(slot);
  for (const std::uint32_t slot : retired_vms_) {
    std::memset(&eyes_.vms[slot], 0, sizeof(eyes_vm));
    spare_vms_.push_back(slot);
  }
  retired_.clear();
  retired_vms_.clear();
  stale_ = true;
}

// A slot that the index does not lead to is one that lost a race for its tid,
// or one whose thread is just exiting: only the former is so twice.
bool Slots::is_stray(std::uint32_t slot, const eyes_thread& thread) {
  if (load(thread.state) == EYES_DEAD) return false;
  if (load(eyes_.slot_of_pid[thread.tid % EYES_PIDS_MAX]) == slot) return false;
  const auto seen = std::find(doubtful_.begin(), doubtful_.end(), slot);
  if (seen != doubtful_.end()) {
    doubtful_.erase(seen);
    return true;
  }
  doubtful_.push_back(slot);
  stale_ = true;
  return false;
}

void Slots::collect(std::vector<Entry>& found) {
  found.clear();
  for (std::uint32_t slot = 1; slot <= slots_used_max_; ++slot) {
    const eyes_thread& thread = eyes_.threads[slot];
    const std::uint32_t vm_slot = load(thread.vm);
    if (vm_slot == 0 || slot == agent_slot_) continue;
    if (std::find(retired_.begin(), retired_.end(), slot) != retired_.end()) {
      continue;
    }
    const VmId vm = vm_of_slot(vm_slot);
    if (vm == kNoVm || is_stray(slot, thread)) {
      retired_.push_back(slot);
      continue;
    }
    const eyes_vcpu& vcpu = eyes_.vcpus[slot];
    Entry entry;
    entry.slot = slot;
    entry.id = ThreadId{vcpu.serial};
    entry.vm = vm;
    entry.tid = thread.tid;
    entry.thread_class = class_of(load(thread.class_));
    if (entry.thread_class == ThreadClass::kVcpu) {
      entry.vcpu = static_cast<std::uint16_t>(vcpu.vcpu_id);
    }
    found.push_back(entry);
  }
}

void Slots::rebuild() {
  generation_seen_ = load(*eyes_.generation);
  stale_ = false;
  collect(scratch_);
  const auto order = [](const Entry& a, const Entry& b) {
    return std::tie(a.vm, a.thread_class, a.vcpu, a.id) <
           std::tie(b.vm, b.thread_class, b.vcpu, b.id);
  };
  std::sort(scratch_.begin(), scratch_.end(), order);
  // Carry over what was given out, by slot: a class may have changed.
  std::sort(entries_.begin(), entries_.end(),
            [](const Entry& a, const Entry& b) { return a.slot < b.slot; });
  for (Entry& entry : scratch_) {
    const auto old = std::lower_bound(
        entries_.begin(), entries_.end(), entry.slot,
        [](const Entry& a, std::uint32_t slot) { return a.slot < slot; });
    if (old == entries_.end() || old->id != entry.id) continue;
    if (old->slot != entry.slot) continue;
    entry.run_ns = old->run_ns;
    entry.wait_ns = old->wait_ns;
  }
  entries_.swap(scratch_);
  index_vms();
}

void Slots::index_vms() {
  std::vector<VmEntry> old;
  old.swap(vms_);
  for (const auto& [id, slot] : vm_slots_) {
    VmEntry entry;
    entry.vm = VmId{id};
    entry.slot = slot.slot;
    vms_.push_back(entry);
  }
  std::sort(vms_.begin(), vms_.end(),
            [](const VmEntry& a, const VmEntry& b) { return a.vm < b.vm; });
  std::uint32_t next = 0;
  std::uint32_t next_vcpu = 0;
  for (VmEntry& vm : vms_) {
    vm.first_thread = next;
    vm.first_vcpu = next_vcpu;
    for (; next < entries_.size() && entries_[next].vm == vm.vm; ++next) {
      if (entries_[next].thread_class == ThreadClass::kVcpu) ++next_vcpu;
    }
    vm.thread_count = next - vm.first_thread;
    vm.vcpu_count = next_vcpu - vm.first_vcpu;
    const auto before =
        std::find_if(old.begin(), old.end(),
                     [&](const VmEntry& entry) { return entry.vm == vm.vm; });
    if (before != old.end()) vm.all_runnable_ns = before->all_runnable_ns;
  }
  assert(next == entries_.size());
}

std::uint64_t Slots::rq_time(Instant now) const {
  eyes_clock pair{};
  if (!read_quietly(*eyes_.clock_pair, pair) || pair.rq_ns == 0) return 0;
  const auto now_ns =
      static_cast<std::uint64_t>(now.time_since_epoch().count());
  return now_ns - pair.monotonic_ns + pair.rq_ns;
}

bool Slots::read_thread(Entry& entry, std::uint64_t now_rq,
                        ThreadSample& out) {
  eyes_thread thread;
  if (!read_quietly(eyes_.threads[entry.slot], thread)) return false;
  const std::uint64_t in_flight = since(now_rq, thread.since);
  std::uint64_t run = thread.run_ns;
  std::uint64_t wait = thread.wait_ns;
  if (thread.state == EYES_RUNNING) run += in_flight;
  if (thread.state == EYES_WAITING) wait += in_flight;
  // The part in flight is by another clock than the sum that follows it.
  entry.run_ns = std::max(run, entry.run_ns);
  entry.wait_ns = std::max(wait, entry.wait_ns);
  out.id = entry.id;
  out.vm = entry.vm;
  out.tid = entry.tid;
  out.vcpu = entry.vcpu;
  out.thread_class = entry.thread_class;
  out.state = ThreadState{thread.state};
  out.run_ns = entry.run_ns;
  out.wait_ns = entry.wait_ns;
  const bool open =
      thread.state == EYES_WAITING || thread.state == EYES_RUNNING;
  out.open_run_ns = open ? since(entry.run_ns, thread.busy_run_ns) : 0;
  out.open_wait_ns = open ? since(entry.wait_ns, thread.busy_wait_ns) : 0;
  out.wakeups = thread.wakeups;
  out.migrations = thread.migrations;
  return true;
}

void Slots::read_vcpu(std::uint32_t slot, VcpuSample& out) const {
  const eyes_vcpu& vcpu = eyes_.vcpus[slot];
  for (std::size_t i = 0; i < kExitClasses; ++i) {
    out.exits[i] = __atomic_load_n(&vcpu.exits[i], __ATOMIC_RELAXED);
  }
  out.halt_poll_ns = __atomic_load_n(&vcpu.halt_poll_ns, __ATOMIC_RELAXED);
  out.guest_ns = __atomic_load_n(&vcpu.guest_ns, __ATOMIC_RELAXED);
}

void Slots::read_vm(VmEntry& entry, std::uint64_t now_rq,
                    VmSample& out) const {
  const eyes_vm& vm = eyes_.vms[entry.slot];
  std::uint64_t all = load(vm.all_runnable_ns);
  const std::uint32_t vcpus = load(vm.vcpus);
  if (vcpus > 0 && load(vm.runnable) == vcpus) all += now_rq;
  // Count and sum are not read as one: what is no time yet is not one.
  if (all >= entry.all_runnable_ns && all <= now_rq) entry.all_runnable_ns = all;
  out.id = entry.vm;
  out.first_thread = entry.first_thread;
  out.thread_count = entry.thread_count;
  out.first_vcpu = entry.first_vcpu;
  out.vcpu_count = entry.vcpu_count;
  out.all_runnable_ns = entry.all_runnable_ns;
}

void Slots::read(Instant now, Sample& out) {
  drain_retired();
  if (stale_ || load(*eyes_.generation) != generation_seen_) rebuild();
  refill_queue();
  const std::uint64_t now_rq = rq_time(now);
  out.taken = now;
  out.vms.resize(vms_.size());
  out.threads.resize(entries_.size());
  out.vcpus.resize(vms_.empty() ? 0
                                : vms_.back().first_vcpu +
                                      vms_.back().vcpu_count);
  std::size_t vcpu = 0;
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    Entry& entry = entries_[i];
    // No quiet moment: the last figures stay (hold, never zero).
    if (read_thread(entry, now_rq, out.threads[i]) &&
        out.threads[i].state == ThreadState::kExited) {
      retired_.push_back(entry.slot);
    }
    if (entry.thread_class == ThreadClass::kVcpu) {
      read_vcpu(entry.slot, out.vcpus[vcpu++]);
    }
  }
  for (std::size_t i = 0; i < vms_.size(); ++i) {
    read_vm(vms_[i], now_rq, out.vms[i]);
  }
  out.lost = load(eyes_.lost->threads) + load(eyes_.lost->events) +
             load(eyes_.lost->blame);
}

}  // namespace outrider
