// SPDX-License-Identifier: Apache-2.0
#include "agent/bpf_sensor.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <tuple>

#include "agent/bpf_log.h"
#include "agent/shared_memory.h"
#include "agent/sys/fd.h"
#include "bpf/records.h"
// After the records it is made of.
#include "vcpu.skel.h"

namespace outrider {
namespace {

struct Destroy {
  void operator()(vcpu_bpf* skeleton) const { vcpu_bpf::destroy(skeleton); }
};
using Skeleton = std::unique_ptr<vcpu_bpf, Destroy>;

struct FreeRing {
  void operator()(ring_buffer* ring) const { ring_buffer__free(ring); }
};

enum class Need : std::uint8_t {
  kAlways,
  kOptional,
  kKvm,
  kAmd,
  kIntel,
  kPlain
};

struct ProgramRow {
  const char* name;
  Need need;
  const char* cost;  // what is not seen without it
};

// Every program, and when it is wanted.
constexpr std::array kPrograms = {
    ProgramRow{"on_switch", Need::kAlways, "no run and wait per thread"},
    ProgramRow{"on_wakeup", Need::kAlways, "no busy periods"},
    ProgramRow{"on_wakeup_new", Need::kAlways, "new threads are not seen"},
    ProgramRow{"on_exit", Need::kAlways, "ended threads are not seen"},
    ProgramRow{"on_rename", Need::kOptional,
               "vhost workers born after attachment are not seen before 6.4"},
    ProgramRow{"on_move", Need::kOptional,
               "a VM put into another cgroup keeps its old throttling figures"},
    ProgramRow{"on_kvm_entry", Need::kKvm,
               "vCPUs count as the emulator's threads; no new VMs are told of"},
    ProgramRow{"on_kvm_exit_amd", Need::kAmd, "exits by tracepoints only"},
    ProgramRow{"on_kvm_mmio_amd", Need::kAmd,
               "MMIO exits are counted as page faults"},
    ProgramRow{"on_kvm_exit_intel", Need::kIntel, "exits by tracepoints only"},
    ProgramRow{"on_kvm_exit", Need::kPlain, "no exits"},
    ProgramRow{"on_kvm_mmio", Need::kPlain, "no MMIO exits"},
    ProgramRow{"on_kvm_pio", Need::kPlain, "no I/O exits"},
    ProgramRow{"on_kvm_msr", Need::kPlain, "no MSR exits"},
    ProgramRow{"on_kvm_page_fault", Need::kPlain, "no page-fault exits"},
    ProgramRow{"on_kvm_vcpu_wakeup", Need::kPlain, "no halt exits"},
};

enum class Vendor : std::uint8_t { kNone, kAmd, kIntel, kUnknown };

bool exists(const char* path) { return access(path, F_OK) == 0; }

// Which vendor's module can say why a guest was left.
Vendor kvm_vendor() {
  if (!exists("/sys/module/kvm")) return Vendor::kNone;
  if (exists("/sys/kernel/btf/kvm_amd")) return Vendor::kAmd;
  if (exists("/sys/kernel/btf/kvm_intel")) return Vendor::kIntel;
  return Vendor::kUnknown;
}

bool is_wanted(Need need, Vendor vendor) {
  switch (need) {
    case Need::kAlways:
    case Need::kOptional:
      return true;
    case Need::kKvm:
      return vendor != Vendor::kNone;
    case Need::kAmd:
      return vendor == Vendor::kAmd;
    case Need::kIntel:
      return vendor == Vendor::kIntel;
    case Need::kPlain:
      return vendor == Vendor::kUnknown;
  }
  return false;
}

void set_options(vcpu_bpf& skeleton, const SensorOptions& options) {
  skeleton.rodata->edges_on = options.edges;
  skeleton.rodata->guest_time_on = options.guest_time;
  const std::uint32_t every = options.blame ? options.blame_sample : 0;
  skeleton.rodata->blame_every = every;
  skeleton.rodata->blame_below =
      every == 0 ? 0 : static_cast<std::uint32_t>(0xffffffffULL / every);
}

// The globals' map, as libbpf would make it; but libbpf then writes all of its
// 11 MB, zeroes over zeroes: a quarter of the time that a start takes. Where
// this fails, libbpf does it its own way.
void make_globals(bpf_map* globals) {
  bpf_map_create_opts flags{};
  flags.sz = sizeof(flags);
  flags.map_flags = BPF_F_MMAPABLE;
  const Fd map{bpf_map_create(BPF_MAP_TYPE_ARRAY, bpf_map__name(globals),
                              sizeof(std::uint32_t),
                              bpf_map__value_size(globals), 1, &flags)};
  if (map) (void)bpf_map__reuse_fd(globals, map.get());
}

Skeleton open_skeleton(const SensorOptions& options) {
  begin_bpf_log();
  Skeleton skeleton{vcpu_bpf::open()};
  if (skeleton) {
    set_options(*skeleton, options);
    make_globals(skeleton->maps.bss);
  }
  return skeleton;
}

const ProgramRow* failed_program() {
  const auto row = std::find_if(
      kPrograms.begin(), kPrograms.end(),
      [](const ProgramRow& one) { return bpf_log_blames(one.name); });
  return row == kPrograms.end() ? nullptr : &*row;
}

// Calls `handle` with each key of a table that is written meanwhile: as many as
// it holds at most. The key in hand may be deleted.
template <class Key, class Handle>
void for_each_key(const bpf_map* map, Handle handle) {
  const int fd = bpf_map__fd(map);
  Key key{};
  if (bpf_map_get_next_key(fd, nullptr, &key) != 0) return;
  for (std::uint32_t i = 0; i < bpf_map__max_entries(map); ++i) {
    Key next{};
    const bool is_last = bpf_map_get_next_key(fd, &key, &next) != 0;
    handle(key);
    if (is_last) return;
    key = next;
  }
}

SharedMemory::Layout layout_of(vcpu_bpf& skeleton) {
  return {.map_fd = bpf_map__fd(skeleton.maps.bss),
          .base = reinterpret_cast<char*>(skeleton.bss),
          .index = skeleton.bss->slot_of_pid,
          .threads = skeleton.bss->threads,
          .vcpus = skeleton.bss->vcpus};
}

Eyes eyes_of(vcpu_bpf& skeleton, SharedMemory& memory) {
  auto& shared = *skeleton.bss;
  return Eyes{
      .threads = shared.threads,
      .vcpus = shared.vcpus,
      .vms = shared.vms,
      .free_slots = shared.free_slots,
      .free_head = &shared.free_head,
      .free_tail = &shared.free_tail,
      .serial_last = &shared.serial_last,
      .generation = &shared.generation,
      .clock_pair = &shared.clock_pair,
      .lost = &shared.lost,
      .index = [&memory](pid_t tid) -> __u16& { return memory.index(tid); },
      .reach = [&memory](std::uint32_t slot) { return memory.reach(slot); }};
}

}  // namespace

struct BpfSensor::Programs {
  explicit Programs(Skeleton loaded)
      : skeleton(std::move(loaded)), memory(layout_of(*skeleton)) {}

  Skeleton skeleton;
  SharedMemory memory;
  std::unique_ptr<ring_buffer, FreeRing> ring;
  const std::function<void(const SensorEvent&)>* handle = nullptr;
  const Slots* slots = nullptr;

  static int on_event(void* self, void* data, std::size_t size);
};

int BpfSensor::Programs::on_event(void* self, void* data, std::size_t size) {
  const auto& programs = *static_cast<Programs*>(self);
  eyes_event event{};
  if (size < sizeof(event)) return 0;
  std::memcpy(&event, data, sizeof(event));
  if (event.kind > EYES_EVENT_WAIT_EDGE) return 0;
  (*programs.handle)(
      SensorEvent{.kind = static_cast<SensorEvent::Kind>(event.kind),
                  .vm = programs.slots->vm_of_slot(event.vm),
                  .tid = static_cast<pid_t>(event.tid),
                  .tgid = static_cast<pid_t>(event.tgid),
                  .at = Instant{std::chrono::nanoseconds{event.monotonic_ns}},
                  .value = std::chrono::nanoseconds{event.value_ns}});
  return 0;
}

BpfSensor::BpfSensor(std::unique_ptr<Programs> programs)
    : programs_(std::move(programs)),
      slots_(std::make_unique<Slots>(
          eyes_of(*programs_->skeleton, programs_->memory))) {
  programs_->slots = slots_.get();
}

BpfSensor::~BpfSensor() = default;

Result<std::unique_ptr<BpfSensor>> BpfSensor::make(
    const SensorOptions& options) {
  Vendor vendor = kvm_vendor();
  std::vector<MissingProgram> missing;
  std::vector<const ProgramRow*> refused;
  // One program fewer at each turn, so this ends.
  for (;;) {
    Skeleton skeleton = open_skeleton(options);
    if (!skeleton) return fail(errno, "open BPF programs: " + bpf_log());
    for (const ProgramRow& row : kPrograms) {
      const bool is_refused =
          std::find(refused.begin(), refused.end(), &row) != refused.end();
      bpf_program__set_autoload(
          bpf_object__find_program_by_name(skeleton->obj, row.name),
          is_wanted(row.need, vendor) && !is_refused);
    }
    const int error = vcpu_bpf::load(skeleton.get());
    if (error == 0) {
      std::unique_ptr<BpfSensor> sensor{
          new BpfSensor(std::make_unique<Programs>(std::move(skeleton)))};
      for (const ProgramRow* row : refused) {
        missing.push_back({row->name, row->cost});
      }
      if (vendor == Vendor::kNone) {
        missing.push_back({"KVM tracepoints",
                           "the kvm module is not loaded: no guests to see"});
      }
      sensor->missing_ = std::move(missing);
      sensor->sees_kvm_ = vendor != Vendor::kNone;
      auto connected = sensor->connect();
      if (!connected) return pass(connected, "BPF");
      return sensor;
    }
    const ProgramRow* row = failed_program();
    if (row == nullptr || row->need == Need::kAlways) {
      const std::string reason =
          error == -EPERM ? "needs CAP_BPF and CAP_PERFMON" : bpf_log_reason();
      return fail(-error, "load BPF programs: " + reason);
    }
    refused.push_back(row);
    // Without the vendor's reason, classes come from the other tracepoints.
    if (row->need == Need::kAmd || row->need == Need::kIntel) {
      vendor = Vendor::kUnknown;
    }
  }
}

Result<> BpfSensor::connect() {
  vcpu_bpf& skeleton = *programs_->skeleton;
  const int error = vcpu_bpf::attach(&skeleton);
  if (error != 0) {
    return fail(-error, "attach programs: " + bpf_log_reason());
  }
  programs_->ring.reset(ring_buffer__new(bpf_map__fd(skeleton.maps.events),
                                         Programs::on_event, programs_.get(),
                                         nullptr));
  if (!programs_->ring) return fail(errno, "map the event ring");
  slots_->adopt_agent(static_cast<pid_t>(syscall(SYS_gettid)));
  // Being switched in takes the clock pair, which what follows relies on.
  for (int i = 0; i < 1000 && !slots_->has_clock(); ++i) usleep(50);
  if (!slots_->has_clock()) return fail(0, "sched_switch does not fire");
  return {};
}

// The ring itself: libbpf's epoll of it inside the loop's would be two to go
// through at each edge.
int BpfSensor::event_fd() const {
  return bpf_map__fd(programs_->skeleton->maps.events);
}

void BpfSensor::take_events(
    const std::function<void(const SensorEvent&)>& handle) {
  programs_->handle = &handle;
  // A negative count is an interrupted call: the ring is still readable.
  (void)ring_buffer__consume(programs_->ring.get());
  programs_->handle = nullptr;
}

const Sample& BpfSensor::read(Instant now) {
  Sample& sample = slots_->read(now);
  if (blame_is_new_) sample.blame = blame_;
  blame_is_new_ = false;
  return sample;
}

void BpfSensor::read_blame() {
  const bpf_map* map = programs_->skeleton->maps.blame;
  blame_.clear();
  for_each_key<eyes_blame_key>(map, [&](const eyes_blame_key& key) {
    __u64 wait_ns = 0;
    if (bpf_map_lookup_elem(bpf_map__fd(map), &key, &wait_ns) != 0) return;
    BlameSample sample;
    sample.waiter = slots_->vm_of_slot(key.waiter);
    if (sample.waiter == VmId{}) return;
    sample.wait_ns = wait_ns;
    if (key.holder == EYES_HOLDER_VM) {
      sample.holder = BlameSample::Holder::kVm;
      sample.holder_vm = slots_->vm_of_slot(key.who);
    } else if (key.holder == EYES_HOLDER_TASK) {
      sample.holder = BlameSample::Holder::kHostTask;
      sample.holder_pid = key.who;
    }
    blame_.push_back(sample);
  });
  blame_is_new_ = true;
  std::sort(blame_.begin(), blame_.end(),
            [](const BlameSample& a, const BlameSample& b) {
              return std::tie(a.waiter, b.wait_ns) <
                     std::tie(b.waiter, a.wait_ns);
            });
}

void BpfSensor::forget_blame(VmId vm) {
  const bpf_map* map = programs_->skeleton->maps.blame;
  const std::uint32_t slot = slots_->slot_of_vm(vm);
  for_each_key<eyes_blame_key>(map, [&](const eyes_blame_key& key) {
    const bool held = key.holder == EYES_HOLDER_VM && key.who == slot;
    if (key.waiter != slot && !held) return;
    (void)bpf_map_delete_elem(bpf_map__fd(map), &key);  // gone is as good
  });
}

void BpfSensor::forget_process(pid_t tgid) {
  const auto key = static_cast<__u32>(tgid);
  // It may have been pushed out of the table already, which is as good.
  (void)bpf_map_delete_elem(bpf_map__fd(programs_->skeleton->maps.told), &key);
}

std::size_t BpfSensor::table_entries() const {
  std::size_t count = 0;
  for_each_key<eyes_blame_key>(programs_->skeleton->maps.blame,
                               [&](const eyes_blame_key&) { ++count; });
  for_each_key<__u32>(programs_->skeleton->maps.told,
                      [&](const __u32&) { ++count; });
  return count;
}

std::vector<ProgramVerdict> probe_programs() {
  const Vendor vendor = kvm_vendor();
  SensorOptions all;
  all.guest_time = true;
  std::vector<ProgramVerdict> verdicts;
  for (const ProgramRow& row : kPrograms) {
    ProgramVerdict verdict;
    verdict.name = row.name;
    verdict.cost = row.cost;
    verdict.wanted = is_wanted(row.need, vendor);
    Skeleton skeleton = open_skeleton(all);
    if (skeleton) {
      for (const ProgramRow& other : kPrograms) {
        bpf_program__set_autoload(
            bpf_object__find_program_by_name(skeleton->obj, other.name),
            &other == &row);
      }
      verdict.loads = vcpu_bpf::load(skeleton.get()) == 0;
    }
    if (!verdict.loads) verdict.why = bpf_log_reason();
    verdicts.push_back(std::move(verdict));
  }
  return verdicts;
}

}  // namespace outrider
