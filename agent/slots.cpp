// SPDX-License-Identifier: Apache-2.0
#include "agent/slots.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cstddef>
#include <cstring>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

namespace outrider {
namespace {

// How many free slots wait in BPF's queue: the most threads that can come
// between two ticks. The rest are kept here, lowest first, so that the slots in
// use stay together and a walk over them short.
constexpr std::uint32_t kQueuedMax = 1024;

// A writer needs some tens of ns; it can be held up by an interrupt.
constexpr int kReadTriesMax = 64;

// How long the figures of an exited thread stay, so that readers of any pace up
// to this one see the last of them.
constexpr std::uint64_t kLingerNs = 1'000'000'000;

constexpr VmId kNoVm{};

// No record at rest has an odd one.
constexpr std::uint32_t kNoSeq = 1;

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
      copy[w] = load(words[w]);
    }
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

// The counters of a vCPU, in the record's own order. Each is whole, but they
// are not of one instant: nothing adds them up.
void copy_vcpu(const eyes_vcpu& record, VcpuSample& out) {
  static_assert(offsetof(eyes_vcpu, halt_poll_ns) ==
                offsetof(VcpuSample, halt_poll_ns));
  static_assert(offsetof(eyes_vcpu, guest_ns) ==
                offsetof(VcpuSample, guest_ns));
  static_assert(std::is_trivially_copyable_v<VcpuSample>);
  std::memcpy(static_cast<void*>(&out), &record, sizeof(out));
}

// Brings a row up to date; false when nothing can have changed since the last
// time. Without a quiet moment the last figures stay (hold, never zero).
inline bool refresh(const eyes_thread& record, std::uint32_t& seen_seq,
                    std::uint64_t now_rq, ThreadSample& row) {
  if (load(record.seq) == seen_seq) return false;
  eyes_thread thread;
  if (!read_quietly(record, thread)) return false;
  const std::uint64_t flown = since(now_rq, thread.since);
  const bool runs = thread.state == EYES_RUNNING;
  const bool waits = thread.state == EYES_WAITING;
  const std::uint64_t run = thread.run_ns + (runs ? flown : 0);
  const std::uint64_t wait = thread.wait_ns + (waits ? flown : 0);
  // The part in flight is by another clock than the sum that follows it: what
  // was given out never goes back.
  row.run_ns = std::max(run, row.run_ns);
  row.wait_ns = std::max(wait, row.wait_ns);
  const bool open = runs || waits;
  row.open_run_ns = open ? since(row.run_ns, thread.busy_run_ns) : 0;
  row.open_wait_ns = open ? since(row.wait_ns, thread.busy_wait_ns) : 0;
  row.wakeups = thread.wakeups;
  row.migrations = thread.migrations;
  row.state = ThreadState{thread.state};
  // A part in flight grows by itself: no seq is the one that was seen.
  seen_seq = open ? kNoSeq : thread.seq;
  return true;
}

// The sum has the instant taken off at which all became runnable until one no
// longer is, which makes it negative: it says itself whether they are.
inline void refresh_vm(const eyes_vm& record, std::uint64_t now_rq,
                       VmSample& row) {
  const std::uint64_t sum = load(record.all_runnable_ns);
  const bool open = static_cast<std::int64_t>(sum) < 0;
  const auto all = static_cast<std::int64_t>(open ? sum + now_rq : sum);
  row.all_runnable_ns = static_cast<std::uint64_t>(
      std::max(all, static_cast<std::int64_t>(row.all_runnable_ns)));
}

ThreadClass class_of(std::uint8_t eyes_class) {
  return eyes_class > EYES_VHOST ? ThreadClass::kEmulator
                                 : ThreadClass{eyes_class};
}

}  // namespace

Slots::Slots(Eyes eyes) : eyes_(std::move(eyes)) {
  for (std::uint32_t slot = 1; slot < EYES_THREADS_MAX; ++slot) {
    spare_.push(slot);
  }
  for (std::uint32_t slot = EYES_VMS_MAX - 1; slot > EYES_VM_AGENT; --slot) {
    spare_vms_.push_back(slot);
  }
  vm_of_slot_.resize(EYES_VMS_MAX);
  refill_queue();
}

// BPF takes from the head; only we add.
void Slots::refill_queue() {
  std::uint32_t tail = *eyes_.free_tail;
  while (tail - load(*eyes_.free_head) < kQueuedMax) {
    const std::uint32_t slot = take_slot();
    if (slot == 0) return;
    eyes_.free_slots[tail % EYES_THREADS_MAX] = static_cast<__u16>(slot);
    store(*eyes_.free_tail, ++tail);
  }
}

std::uint32_t Slots::take_slot() {
  if (spare_.empty()) return 0;
  const std::uint32_t slot = spare_.top();
  if (slot > slots_used_max_) {
    if (!eyes_.reach(slot)) return 0;
    slots_used_max_ = slot;
  }
  spare_.pop();
  return slot;
}

// Events of the thread find no slot any more.
void Slots::forget(std::uint32_t slot) {
  __u16& index = eyes_.index(static_cast<pid_t>(eyes_.threads[slot].tid));
  if (load(index) == slot) store(index, __u16{0});
}

void Slots::release(std::uint32_t slot) {
  forget(slot);
  std::memset(&eyes_.threads[slot], 0, sizeof(eyes_thread));
  std::memset(&eyes_.vcpus[slot], 0, sizeof(eyes_vcpu));
  spare_.push(slot);
}

Result<> Slots::open(VmId vm, pid_t tgid) {
  if (spare_vms_.empty()) {
    return fail(
        0, "all " + std::to_string(EYES_VMS_MAX - 2) + " VM slots are taken");
  }
  const std::uint32_t slot = spare_vms_.back();
  spare_vms_.pop_back();
  std::memset(&eyes_.vms[slot], 0, sizeof(eyes_vm));
  eyes_.vms[slot].tgid = static_cast<__u32>(tgid);
  vm_slots_[vm] = VmSlot{slot, tgid};
  vm_of_slot_[slot] = vm;
  stale_ = true;
  return {};
}

void Slots::close(VmId vm) {
  const auto it = vm_slots_.find(vm);
  if (it == vm_slots_.end()) return;
  const std::uint32_t vm_slot = it->second.slot;
  // All that there are: BPF may have adopted some since the last read.
  for (std::uint32_t slot = 1; slot <= slots_used_max_; ++slot) {
    if (load(eyes_.threads[slot].vm) == vm_slot) forget(slot);
  }
  closed_vms_.push_back(vm_slot);
  vm_of_slot_[vm_slot] = kNoVm;
  vm_slots_.erase(it);
  stale_ = true;
}

bool Slots::adopt(VmId vm, pid_t tid, ThreadClass thread_class) {
  __u16& index = eyes_.index(tid);
  if (load(index) != 0) return true;
  const std::uint32_t vm_slot = slot_of_vm(vm);
  if (vm_slot == 0) return false;
  const std::uint32_t slot = take_slot();
  if (slot == 0) return false;
  // A vCPU by its name is a guess: the first entry into the guest makes it one.
  const bool is_guess = thread_class == ThreadClass::kVcpu;
  eyes_thread& thread = eyes_.threads[slot];
  thread = eyes_thread{};
  thread.vm = static_cast<__u16>(vm_slot);
  thread.class_ =
      is_guess ? __u8{EYES_EMULATOR} : static_cast<__u8>(thread_class);
  thread.tid = static_cast<__u32>(tid);
  eyes_.vcpus[slot] = eyes_vcpu{};
  eyes_.vcpus[slot].serial =
      __atomic_add_fetch(eyes_.serial_last, 1, __ATOMIC_RELAXED);
  __atomic_add_fetch(&eyes_.vms[vm_slot].threads, 1, __ATOMIC_RELAXED);
  __u16 none = 0;
  if (__atomic_compare_exchange_n(&index, &none, static_cast<__u16>(slot),
                                  false, __ATOMIC_RELEASE, __ATOMIC_RELAXED)) {
    claims_.push_back(Claim{.slot = slot});
    stale_ = true;
  } else {  // BPF was quicker
    uncount(slot);
    release(slot);
  }
  return true;
}

void Slots::disown(pid_t tid) {
  __u16& index = eyes_.index(tid);
  const std::uint32_t slot = load(index);
  if (slot == 0 || slot == agent_slot_) return;
  store(index, __u16{0});
  store(eyes_.threads[slot].state, __u8{EYES_DEAD});
  uncount(slot);
  retired_.push_back(slot);
  stale_ = true;
}

void Slots::adopt_agent(pid_t tid) {
  agent_slot_ = take_slot();
  assert(agent_slot_ != 0);
  eyes_thread& thread = eyes_.threads[agent_slot_];
  thread = eyes_thread{};
  thread.vm = EYES_VM_AGENT;
  thread.class_ = EYES_AGENT;
  thread.tid = static_cast<__u32>(tid);
  store(eyes_.index(tid), static_cast<__u16>(agent_slot_));
}

bool Slots::has_clock() const { return load(eyes_.clock_pair->rq_ns) != 0; }

void Slots::set_class(pid_t tid, ThreadClass thread_class) {
  const std::uint32_t slot = load(eyes_.index(tid));
  if (slot == 0 || thread_class == ThreadClass::kVcpu) return;
  __u8& field = eyes_.threads[slot].class_;
  __u8 known = load(field);
  if (known == EYES_VCPU || known == EYES_AGENT) return;
  // It may be entering a guest right now: then that stands.
  (void)__atomic_compare_exchange_n(&field, &known,
                                    static_cast<__u8>(thread_class), false,
                                    __ATOMIC_RELEASE, __ATOMIC_RELAXED);
  stale_ = true;
}

void Slots::pretend_vcpu(pid_t tid) {
  const std::uint32_t slot = load(eyes_.index(tid));
  eyes_.threads[slot].class_ = EYES_VCPU;
  ++eyes_.vms[eyes_.threads[slot].vm].vcpus;
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
  const auto it = vm_slots_.find(vm);
  return it == vm_slots_.end() ? 0 : it->second.slot;
}

pid_t Slots::tgid_of(VmId vm) const {
  const auto it = vm_slots_.find(vm);
  return it == vm_slots_.end() ? 0 : it->second.tgid;
}

std::size_t Slots::threads_in_use() const {
  const std::uint32_t queued = *eyes_.free_tail - load(*eyes_.free_head);
  const std::size_t agent = agent_slot_ == 0 ? 0 : 1;
  return EYES_THREADS_MAX - 1 - spare_.size() - queued - agent;
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

// The slot counts as no thread of its VM any more.
void Slots::uncount(std::uint32_t slot) {
  eyes_thread& thread = eyes_.threads[slot];
  __atomic_sub_fetch(&eyes_.vms[thread.vm].threads, 1, __ATOMIC_RELAXED);
  thread.vm = 0;
}

// BPF writes the index without comparing, so that a thread which both sides
// gave a slot at once keeps BPF's, and nothing leads to ours. Nor does it to
// that of a thread which is just exiting: only the former is so twice.
void Slots::check_claims() {
  std::vector<Claim> open;
  for (Claim claim : claims_) {
    const eyes_thread& thread = eyes_.threads[claim.slot];
    if (vm_of_slot(thread.vm) == kNoVm) continue;
    if (load(thread.state) == EYES_DEAD) continue;
    const auto tid = static_cast<pid_t>(thread.tid);
    ++claim.looks;
    if (load(eyes_.index(tid)) != claim.slot) ++claim.doubts;
    if (claim.doubts == 2) {
      uncount(claim.slot);
      retired_.push_back(claim.slot);
    } else if (claim.looks < 2 + claim.doubts) {
      open.push_back(claim);
    }
  }
  claims_.swap(open);
  if (!claims_.empty()) stale_ = true;
}

// The row of the slot's thread, with the figures that it had.
ThreadSample Slots::row_of(std::uint32_t slot, const ThreadSample* old) const {
  const eyes_thread& thread = eyes_.threads[slot];
  const eyes_vcpu& vcpu = eyes_.vcpus[slot];
  const ThreadId id{vcpu.serial};
  ThreadSample row;
  if (old != nullptr && old->id == id) row = *old;
  row.id = id;
  row.vm = vm_of_slot(thread.vm);
  row.tid = thread.tid;
  row.thread_class = class_of(load(thread.class_));
  if (row.thread_class == ThreadClass::kVcpu) {
    row.vcpu = static_cast<std::uint16_t>(vcpu.vcpu_id);
  }
  return row;
}

// Rows of all threads that there are now, sorted as Sample wants them.
void Slots::collect() {
  std::vector<const ThreadSample*> old(slots_used_max_ + 1);
  for (std::size_t i = 0; i < sources_.size(); ++i) {
    old[sources_[i].slot] = &sample_.threads[i];
  }
  struct Found {
    ThreadSample row;
    std::uint32_t slot;
  };
  std::vector<Found> found;
  found.reserve(sources_.size() + 1);
  for (std::uint32_t slot = 1; slot <= slots_used_max_; ++slot) {
    const std::uint32_t vm_slot = load(eyes_.threads[slot].vm);
    if (vm_slot == 0 || slot == agent_slot_) continue;
    // BPF is still filling it; `generation` rises after that.
    if (load(eyes_.vcpus[slot].serial) == 0) continue;
    if (vm_of_slot(vm_slot) == kNoVm) {
      retired_.push_back(slot);
    } else {
      found.push_back(Found{row_of(slot, old[slot]), slot});
    }
  }
  const auto key = [](const Found& at) {
    return std::tie(at.row.vm, at.row.thread_class, at.row.vcpu, at.row.id);
  };
  std::sort(found.begin(), found.end(),
            [&](const Found& a, const Found& b) { return key(a) < key(b); });
  sources_.clear();
  sample_.threads.clear();
  for (const Found& at : found) {
    sources_.push_back(Source{.slot = at.slot});
    sample_.threads.push_back(at.row);
  }
}

void Slots::rebuild() {
  generation_seen_ = load(*eyes_.generation);
  stale_ = false;
  check_claims();
  collect();
  index_vms();
  // After their threads: by then no program looks at either.
  retired_vms_.swap(closed_vms_);
}

void Slots::index_vms() {
  std::vector<VmSample> old;
  old.swap(sample_.vms);
  vm_rows_.clear();
  sample_.vcpus.clear();
  const std::vector<ThreadSample>& threads = sample_.threads;
  std::uint32_t next = 0;
  for (const auto& [id, slot] : vm_slots_) {
    VmSample row;
    row.id = id;
    const auto before =
        std::lower_bound(old.begin(), old.end(), id,
                         [](const VmSample& a, VmId b) { return a.id < b; });
    if (before != old.end() && before->id == id) row = *before;
    row.first_thread = next;
    row.first_vcpu = static_cast<std::uint32_t>(sample_.vcpus.size());
    row.vcpu_count = 0;
    for (; next < threads.size() && threads[next].vm == id; ++next) {
      if (threads[next].thread_class != ThreadClass::kVcpu) continue;
      copy_vcpu(eyes_.vcpus[sources_[next].slot], sample_.vcpus.emplace_back());
      ++row.vcpu_count;
    }
    row.thread_count = next - row.first_thread;
    sample_.vms.push_back(row);
    vm_rows_.push_back(slot.slot);
  }
  assert(next == threads.size());
}

std::uint64_t Slots::rq_time(Instant now) const {
  eyes_clock pair{};
  if (!read_quietly(*eyes_.clock_pair, pair) || pair.rq_ns == 0) return 0;
  const auto now_ns =
      static_cast<std::uint64_t>(now.time_since_epoch().count());
  return now_ns - pair.monotonic_ns + pair.rq_ns;
}

// False when nothing of the VM can have changed.
inline bool Slots::refresh_threads(const VmSample& vm, std::uint64_t now_rq) {
  ThreadSample* rows = sample_.threads.data() + vm.first_thread;
  Source* sources = sources_.data() + vm.first_thread;
  VcpuSample* vcpus = sample_.vcpus.data() + vm.first_vcpu;
  bool any = false;
  for (std::uint32_t i = 0; i < vm.thread_count; ++i) {
    const std::uint32_t slot = sources[i].slot;
    const eyes_thread& thread = eyes_.threads[slot];
    if (!refresh(thread, sources[i].seq, now_rq, rows[i])) continue;
    any = true;
    // A VM's vCPUs are its first threads.
    if (i < vm.vcpu_count) copy_vcpu(eyes_.vcpus[slot], vcpus[i]);
    if (rows[i].state != ThreadState::kExited) continue;
    sources[i].seq = kNoSeq;  // looked at until it is let go
    if (since(now_rq, thread.since) > kLingerNs) {
      retired_.push_back(slot);
    }
  }
  return any;
}

Sample& Slots::read(Instant now) {
  drain_retired();
  if (stale_ || load(*eyes_.generation) != generation_seen_) rebuild();
  refill_queue();
  const std::uint64_t now_rq = rq_time(now);
  sample_.taken = now;
  for (std::size_t i = 0; i < vm_rows_.size(); ++i) {
    VmSample& vm = sample_.vms[i];
    if (refresh_threads(vm, now_rq)) {
      refresh_vm(eyes_.vms[vm_rows_[i]], now_rq, vm);
    }
  }
  sample_.lost = load(eyes_.lost->threads) + load(eyes_.lost->events) +
                 load(eyes_.lost->blame);
  return sample_;
}

}  // namespace outrider
