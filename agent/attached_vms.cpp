// SPDX-License-Identifier: Apache-2.0
#include "agent/attached_vms.h"

#include <fmt/format.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <utility>

#include "agent/log.h"
#include "agent/sys/clock.h"

namespace outrider {
namespace {

// The kernel moves a running vCPU's books forward at its tick, 4 ms at most
// Debian kernels' HZ=250: the quota edge must come two ticks early.
constexpr Duration kKernelTick = std::chrono::milliseconds{4};

// By its name alone: which threads are vCPUs, KVM says itself. Nothing of a
// thread that has ended or is about to: BPF may have seen its exit already.
std::optional<ThreadClass> class_by_name(const ProcRoot& proc, pid_t pid,
                                         pid_t tid) {
  constexpr std::uint32_t kExiting = 0x4;  // PF_EXITING
  auto text =
      read_text_at(proc.fd(), fmt::format("{}/task/{}/stat", pid, tid), 4096);
  if (!text) return std::nullopt;
  const auto stat = parse_stat(*text);
  if (!stat || (stat->flags & kExiting) != 0) return std::nullopt;
  return classify_thread(stat->comm, "").thread_class;
}

}  // namespace

Result<> AttachedVms::open_bpf() {
  auto sensor =
      BpfSensor::make(SensorOptions{.blame = config_.sense.blame,
                                    .blame_sample = config_.sense.blame_sample,
                                    .guest_time = config_.sense.guest_time,
                                    .edges = config_.sense.edges});
  if (!sensor) return pass(sensor, "eyes");
  bpf_ = std::move(*sensor);
  for (const MissingProgram& missing : bpf_->missing()) {
    degraded_.push_back({missing.name, missing.cost});
  }
  handle_event_ = [this](const SensorEvent& event) { on_event(event); };
  return world_.events.watch(bpf_->event_fd(), EPOLLIN,
                             [this](std::uint32_t) { take_events(); });
}

void AttachedVms::take_events() {
  if (bpf_) bpf_->take_events(handle_event_);
}

void AttachedVms::open_files() {
  FileSensor::Limits limits;
  limits.files_max = open_files_max_ / 2;
  files_ = std::make_unique<FileSensor>(world_.proc, world_.cgroups, limits);
}

Result<> AttachedVms::open() {
  open_files_max_ = raise_open_file_limit();
  if (config_.sense.sensor != SensorChoice::kFiles) {
    auto opened = open_bpf();
    if (opened) return {};
    if (config_.sense.sensor == SensorChoice::kBpf) {
      return pass(opened, "sense");
    }
    degraded_.push_back(
        {opened.error().what,
         "files at 10 Hz: no busy periods, no exits, no edges, no blame"});
  }
  open_files();
  return {};
}

Result<bool> AttachedVms::follow_kvm() {
  if (!bpf_ || bpf_->sees_kvm() || access("/sys/module/kvm", F_OK) != 0) {
    return false;
  }
  log_info("kvm what=\"the module is loaded now\" next=\"the eyes open anew\"");
  world_.events.forget(bpf_->event_fd());
  bpf_.reset();
  degraded_.clear();
  auto opened = open();
  if (!opened) return pass(opened, "kvm");
  const std::vector<Vm> known = std::exchange(vms_, {});
  for (const Vm& vm : known) {
    throttle_.detach(vm.id);
    forget_end(vm.id);
    if (connect(vm)) {
      vms_.push_back(vm);
    } else {
      world_.on_gone(vm.id);
    }
  }
  return true;
}

// What ended meanwhile, and can be another process's thread by now, has no name
// below this process any more.
void AttachedVms::adopt_threads(const Vm& vm, const std::vector<pid_t>& tasks) {
  Slots& slots = bpf_->slots();
  bool has_room = true;
  for (const pid_t tid : tasks) {
    has_room = slots.adopt(vm.id, tid, ThreadClass::kEmulator) && has_room;
    const auto found = class_by_name(world_.proc, vm.identity.pid, tid);
    if (found) slots.set_class(tid, *found);
    if (!found) slots.disown(tid);
  }
  for (const VmThread& vhost :
       list_vhost_threads(world_.proc, world_.cgroups, vm.identity, tasks)) {
    has_room = slots.adopt(vm.id, vhost.tid, ThreadClass::kVhost) && has_room;
  }
  if (has_room) return;
  log_warning(
      "attach vm={} what=\"all thread slots are taken\" "
      "next=\"some of its threads are not seen\"",
      one_word(vm.identity.name));
}

Result<> AttachedVms::connect_bpf(const Vm& vm) {
  Slots& slots = bpf_->slots();
  auto opened = slots.open(vm.id, vm.identity.pid);
  if (!opened) return pass(opened, "attach");
  // With its first thread in the index, BPF adopts what is born from here on.
  if (!slots.adopt(vm.id, vm.identity.pid, ThreadClass::kEmulator)) {
    slots.close(vm.id);
    return fail(0, "all thread slots are taken");
  }
  auto tasks = list_tasks(world_.proc, vm.identity.pid);
  if (!tasks) {
    slots.close(vm.id);
    return pass(tasks, "attach");
  }
  adopt_threads(vm, *tasks);
  set_edges(vm);
  return {};
}

void AttachedVms::set_edges(const Vm& vm) {
  if (!config_.sense.edges) return;
  EdgeThresholds thresholds;
  thresholds.wait_in_window = config_.edge.wait_climb;
  if (config_.edge.quota_reaction > Duration{}) {
    thresholds.quota_left = 2 * kKernelTick + config_.edge.quota_reaction;
  }
  bpf_->slots().set_edges(vm.id, thresholds);
}

void AttachedVms::read_throttling_of(const Vm& vm) {
  if (world_.cgroups == nullptr || vm.identity.cgroup.empty()) return;
  auto attached = throttle_.attach(vm, *world_.cgroups);
  if (attached) return;
  log_debug("attach vm={} what=\"{}\" next=\"no throttled time\"",
            one_word(vm.identity.name), escaped(attached.error().what));
}

// BPF tells of a VM's end as well, and sooner; but only of one that it saw.
Result<> AttachedVms::watch_end(const Vm& vm) {
  auto process = ProcessWatch::open(world_.proc, vm.identity);
  if (!process) return pass(process, "attach");
  const VmId id = vm.id;
  auto watched = world_.events.watch(
      process->fd(), EPOLLIN,
      [this, id](std::uint32_t) { remove(id, "its process ended"); });
  if (!watched) return pass(watched, "attach");
  ends_.emplace(id, std::move(*process));
  return {};
}

void AttachedVms::forget_end(VmId id) {
  const auto end = ends_.find(id);
  if (end == ends_.end()) return;
  world_.events.forget(end->second.fd());
  ends_.erase(end);
}

Result<> AttachedVms::connect(const Vm& vm) {
  auto watched = watch_end(vm);
  if (!watched) return watched;
  auto connected = bpf_ ? connect_bpf(vm) : files_->attach(vm);
  if (!connected) {
    forget_end(vm.id);
    return pass(connected, "attach");
  }
  read_throttling_of(vm);
  return {};
}

Result<VmId> AttachedVms::add(const VmIdentity& identity) {
  if (vms_.size() >= config_.vm_count_max) {
    return fail(0, "vm_count_max (" + std::to_string(config_.vm_count_max) +
                       ") VMs are attached already");
  }
  const Vm vm{VmId{++last_id_}, identity, monotonic_now()};
  auto connected = connect(vm);
  if (!connected) return pass(connected, identity.name);
  vms_.push_back(vm);
  log_info("attached vm={} id={} pid={} uuid={} cgroup={}",
           one_word(identity.name), last_id_, identity.pid,
           identity.uuid.empty() ? "-" : identity.uuid,
           one_word(identity.cgroup));
  world_.on_came(vm);
  return vm.id;
}

const Vm* AttachedVms::find(VmId id) const {
  const auto it = std::find_if(vms_.begin(), vms_.end(),
                               [&](const Vm& vm) { return vm.id == id; });
  return it == vms_.end() ? nullptr : &*it;
}

void AttachedVms::remove(VmId id, const char* why) {
  const Vm* vm = find(id);
  if (vm == nullptr) return;
  world_.on_gone(id);
  forget_end(id);
  if (bpf_) {
    bpf_->forget_blame(id);
    bpf_->slots().close(id);
  } else {
    (void)files_->detach(id);  // it is attached, by the invariant
  }
  throttle_.detach(id);
  log_info("detached vm={} id={} why=\"{}\"", one_word(vm->identity.name),
           static_cast<std::uint32_t>(id), why);
  vms_.erase(vms_.begin() + (vm - vms_.data()));
}

// By process: a VM that was started anew has its UUID, but is to be attached
// even before the end of its former self has been noticed.
bool AttachedVms::has(const VmIdentity& identity) const {
  return std::any_of(vms_.begin(), vms_.end(), [&](const Vm& vm) {
    return vm.identity.pid == identity.pid &&
           vm.identity.start_ticks == identity.start_ticks;
  });
}

const Sample& AttachedVms::sample() {
  const Instant now = monotonic_now();
  if (bpf_) {
    (void)bpf_->read(now);  // the same Sample, but ours to fill
    throttle_.fill(bpf_->sample());
    return bpf_->sample();
  }
  (void)files_->read(now);
  throttle_.fill(files_->sample());
  return files_->sample();
}

const Sample& AttachedVms::last_sample() const {
  return bpf_ ? bpf_->sample() : files_->sample();
}

void AttachedVms::read_cgroups() {
  throttle_.read_all();
  for (Vm& vm : vms_) {
    if (std::count(moved_.begin(), moved_.end(), vm.id) > 0) follow_move(vm);
  }
  moved_.clear();
}

void AttachedVms::read_blame() {
  if (bpf_ && config_.sense.blame) bpf_->read_blame();
}

void AttachedVms::follow_move(Vm& vm) {
  if (vm.identity.origin == VmOrigin::kOperator) return;
  auto now = identify(world_.proc, world_.cgroups, vm.identity.pid);
  if (!now || now->cgroup == vm.identity.cgroup) return;
  vm.identity.cgroup = now->cgroup;
  vm.identity.cgroup_id = now->cgroup_id;
  vm.identity.origin = now->origin;
  throttle_.detach(vm.id);
  read_throttling_of(vm);
  log_info("moved vm={} cgroup={}", one_word(vm.identity.name),
           one_word(vm.identity.cgroup));
  world_.on_came(vm);
}

void AttachedVms::forget_process(pid_t pid) {
  if (bpf_) bpf_->forget_process(pid);
}

std::size_t AttachedVms::thread_slots() const {
  return bpf_ ? bpf_->slots().threads_in_use() : 0;
}

std::size_t AttachedVms::table_entries() const {
  return bpf_ ? bpf_->table_entries() : 0;
}

void AttachedVms::on_kernel_thread(const SensorEvent& event) {
  const auto found = class_by_name(world_.proc, event.tid, event.tid);
  if (found != ThreadClass::kVhost) return;
  if (!bpf_->slots().adopt(event.vm, event.tid, ThreadClass::kVhost)) {
    log_debug("vhost tid={} what=\"its VM is gone, or no slot is left\"",
              event.tid);
  }
}

void AttachedVms::on_event(const SensorEvent& event) {
  switch (event.kind) {
    case SensorEvent::Kind::kNewVm:
      return world_.on_new_process(event.tgid);
    case SensorEvent::Kind::kVmGone:
      return remove(event.vm, "its process ended");
    case SensorEvent::Kind::kRenamed: {
      const auto found = class_by_name(world_.proc, event.tgid, event.tid);
      if (found) bpf_->slots().set_class(event.tid, *found);
      return;
    }
    case SensorEvent::Kind::kMoved:
      if (std::find(moved_.begin(), moved_.end(), event.vm) == moved_.end()) {
        moved_.push_back(event.vm);
      }
      return;
    case SensorEvent::Kind::kKthread:
      return on_kernel_thread(event);
    case SensorEvent::Kind::kQuotaEdge:
    case SensorEvent::Kind::kWaitEdge:
      ++edges_;
      return world_.on_edge(event);
  }
}

}  // namespace outrider
