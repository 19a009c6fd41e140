// SPDX-License-Identifier: Apache-2.0
#include "agent/agent.h"

#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>
#include <map>
#include <optional>
#include <utility>

#include "agent/bpf_sensor.h"
#include "agent/discovery.h"
#include "agent/file_sensor.h"
#include "agent/log.h"
#include "agent/loop_thread.h"
#include "agent/sys/clock.h"
#include "agent/throttle.h"
#include "agent/vm_finder.h"

namespace outrider {
namespace {

// The kernel moves a running vCPU's books forward at its tick, 4 ms at most
// Debian kernels' HZ=250: the quota edge must come two ticks early.
constexpr Duration kKernelTick = std::chrono::milliseconds{4};

// Files are read and rescanned at 10 Hz at most, as the agent promises.
constexpr Duration kFileTick = std::chrono::milliseconds{100};

constexpr std::uint32_t kScanPeriod = 10;  // slow ticks

// By its name alone: which threads are vCPUs, KVM says itself.
ThreadClass class_by_name(const ProcRoot& proc, pid_t pid, pid_t tid) {
  auto comm =
      read_text_at(proc.fd(), fmt::format("{}/task/{}/comm", pid, tid), 64);
  if (!comm) return ThreadClass::kEmulator;  // it has ended
  while (!comm->empty() && comm->back() == '\n') comm->pop_back();
  return classify_thread(*comm, "").thread_class;
}

}  // namespace

/// Everything behind Agent's face.
/// Invariant: either bpf_ or files_ is set, and has just the VMs of vms_.
class Agent::Loop {
 public:
  explicit Loop(const Config& config, ProcRoot proc, EventLoop events)
      : config_(config), proc_(std::move(proc)), events_(std::move(events)) {}

  Result<> start();
  Result<> run();
  Result<VmId> attach(const AttachRequest& request);
  Result<> detach(VmId vm);
  const Sample& sample();
  AgentStatus status() const;

  Config config_;
  ProcRoot proc_;
  EventLoop events_;
  std::optional<CgroupTree> cgroups_;
  std::vector<Vm> vms_;
  Demand second_;

 private:
  void open_cgroups();
  Result<> open_sensor();
  Result<> open_bpf();
  void open_files();
  Result<> watch_everything();
  Result<> watch_signals();
  void find_vms();
  void prioritise();

  Result<VmId> add(const VmIdentity& identity);
  Result<> connect(const Vm& vm);
  Result<> connect_bpf(const Vm& vm);
  Result<> connect_files(const Vm& vm);
  void set_edges(const Vm& vm);
  void remove(VmId vm, const char* why);
  bool is_attached(const VmIdentity& identity) const;
  void add_found(const std::vector<VmIdentity>& found);
  Vm* vm_of(VmId id);

  void tick();
  void slow_tick();
  void follow_kvm();
  void follow_moves();
  void on_event(const SensorEvent& event);
  void on_kernel_thread(const SensorEvent& event);
  void on_new_vm(const SensorEvent& event);
  const CgroupTree* cgroups() const { return cgroups_ ? &*cgroups_ : nullptr; }

  std::unique_ptr<BpfSensor> bpf_;
  std::unique_ptr<FileSensor> files_;
  std::map<VmId, ProcessWatch> ends_;  // in files mode
  ThrottleReader throttle_;
  std::optional<VmFinder> finder_;
  std::optional<PeriodicTimer> tick_timer_;
  std::optional<PeriodicTimer> slow_timer_;
  Fd signals_;
  DemandSeries series_;
  std::function<void(const SensorEvent&)> handle_event_;
  std::vector<VmId> moved_;  // to be identified anew at the next slow tick
  std::vector<Degradation> degraded_;
  std::uint32_t last_id_ = 0;
  std::uint64_t ticks_ = 0;
  std::uint64_t ticks_skipped_ = 0;
  std::uint64_t slow_ticks_ = 0;
  std::uint64_t edges_ = 0;
  Instant started_{};
  Instant second_due_{};
  bool stopping_ = false;
};

void Agent::Loop::open_cgroups() {
  auto tree = open_host_cgroups(proc_);
  auto mounts = read_cgroup_mounts(proc_);
  if (tree && !cgroups_) cgroups_.emplace(std::move(*tree));
  if (!mounts || mounts->mode != CgroupMode::kUnified) {
    degraded_.push_back(
        {"cgroup v2 alone", "no throttled time, and VMs can only be observed"});
  }
}

Result<> Agent::Loop::open_bpf() {
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
  return events_.watch(bpf_->event_fd(), EPOLLIN, [this](std::uint32_t) {
    bpf_->take_events(handle_event_);
  });
}

void Agent::Loop::open_files() {
  FileSensor::Limits limits;
  limits.files_max = raise_open_file_limit() / 2;
  files_ = std::make_unique<FileSensor>(proc_, cgroups(), limits);
  config_.tick_period = std::max(config_.tick_period, kFileTick);
}

Result<> Agent::Loop::open_sensor() {
  if (config_.sense.sensor != SensorChoice::kFiles) {
    auto opened = open_bpf();
    if (opened) return {};
    if (config_.sense.sensor == SensorChoice::kBpf)
      return pass(opened, "sense");
    degraded_.push_back(
        {opened.error().what,
         "files at 10 Hz: no busy periods, no exits, no edges, no blame"});
  }
  open_files();
  return {};
}

Result<> Agent::Loop::watch_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  sigprocmask(SIG_BLOCK, &set, nullptr);
  signals_ = Fd{signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)};
  if (!signals_) return fail(errno, "signalfd");
  return events_.watch(signals_.get(), EPOLLIN,
                       [this](std::uint32_t) { stopping_ = true; });
}

Result<> Agent::Loop::watch_everything() {
  auto signals = watch_signals();
  if (!signals) return pass(signals, "loop");
  auto tick_timer = PeriodicTimer::make(config_.tick_period);
  if (!tick_timer) return pass(tick_timer, "tick");
  tick_timer_.emplace(std::move(*tick_timer));
  auto slow_timer = PeriodicTimer::make(config_.slow_period);
  if (!slow_timer) return pass(slow_timer, "slow tick");
  slow_timer_.emplace(std::move(*slow_timer));
  auto ticks = events_.watch(tick_timer_->fd(), EPOLLIN,
                             [this](std::uint32_t) { tick(); });
  if (!ticks) return pass(ticks, "tick");
  auto slow_ticks = events_.watch(slow_timer_->fd(), EPOLLIN,
                                  [this](std::uint32_t) { slow_tick(); });
  if (!slow_ticks) return pass(slow_ticks, "slow tick");
  if (finder_->watch_fd() < 0) return {};
  return events_.watch(finder_->watch_fd(), EPOLLIN, [this](std::uint32_t) {
    if (finder_->take_changes(monotonic_now())) find_vms();
  });
}

void Agent::Loop::prioritise() {
  if (config_.loop_priority == 0) return;
  auto done = prioritise_loop(config_.loop_priority);
  if (done) return;
  degraded_.push_back(
      {done.error().what + ": " + std::strerror(done.error().code),
       "on a busy host the loop may wait some ms for a CPU"});
}

Result<> Agent::Loop::start() {
  started_ = monotonic_now();
  second_due_ = started_;
  open_cgroups();
  auto sensor = open_sensor();
  if (!sensor) return pass(sensor, "start");
  // The watch comes before the first scan, so that nothing falls between.
  finder_.emplace(VmFinder::make(config_.discovery, proc_, cgroups()));
  auto watched = watch_everything();
  if (!watched) return pass(watched, "start");
  find_vms();
  prioritise();
  for (const Degradation& each : degraded_) {
    log_warning("degraded what=\"{}\" cost=\"{}\"", escaped(each.what),
                escaped(each.cost));
  }
  return {};
}

Result<> Agent::Loop::run() {
  log_info("ready sensor={} vms={} tick_ms={} mode=observe",
           bpf_ ? "bpf" : "files", vms_.size(),
           config_.tick_period / std::chrono::milliseconds{1});
  while (!stopping_) {
    auto turned = events_.turn(Duration{-1});
    if (!turned) return pass(turned, "loop");
  }
  log_info("stopped vms={} ticks={}", vms_.size(), ticks_);
  return {};
}

void Agent::Loop::find_vms() {
  std::vector<VmIdentity> known;
  for (const Vm& vm : vms_) known.push_back(vm.identity);
  add_found(finder_->scan(known));
}

// By process: a VM that was started anew has its UUID, but is to be attached
// even before the end of its former self has been noticed.
bool Agent::Loop::is_attached(const VmIdentity& identity) const {
  return std::any_of(vms_.begin(), vms_.end(), [&](const Vm& vm) {
    return vm.identity.pid == identity.pid &&
           vm.identity.start_ticks == identity.start_ticks;
  });
}

void Agent::Loop::add_found(const std::vector<VmIdentity>& found) {
  for (const VmIdentity& identity : found) {
    if (is_attached(identity)) continue;
    auto added = add(identity);
    if (!added) {
      log_warning("attach pid={} what=\"{}\" next=\"it is not observed\"",
                  identity.pid, escaped(added.error().what));
    }
  }
}

Result<> Agent::Loop::connect_bpf(const Vm& vm) {
  Slots& slots = bpf_->slots();
  auto opened = slots.open(vm.id, vm.identity.pid);
  if (!opened) return pass(opened, "attach");
  // With its first thread in the index, BPF adopts what is born from here on.
  bool has_room = slots.adopt(vm.id, vm.identity.pid, ThreadClass::kEmulator);
  auto tasks = list_tasks(proc_, vm.identity.pid);
  if (!tasks || !has_room) {
    slots.close(vm.id);
    if (!has_room) return fail(0, "all thread slots are taken");
    return pass(tasks, "attach");
  }
  for (const pid_t tid : *tasks) {
    has_room = slots.adopt(vm.id, tid, ThreadClass::kEmulator) && has_room;
    slots.set_class(tid, class_by_name(proc_, vm.identity.pid, tid));
  }
  for (const VmThread& vhost :
       list_vhost_threads(proc_, cgroups(), vm.identity, *tasks)) {
    has_room = slots.adopt(vm.id, vhost.tid, ThreadClass::kVhost) && has_room;
  }
  if (!has_room) {
    log_warning(
        "attach vm={} what=\"all thread slots are taken\" "
        "next=\"some of its threads are not seen\"",
        one_word(vm.identity.name));
  }
  set_edges(vm);
  return {};
}

void Agent::Loop::set_edges(const Vm& vm) {
  if (!config_.sense.edges) return;
  EdgeThresholds thresholds;
  thresholds.wait_in_window = config_.edge.wait_climb;
  if (config_.edge.quota_reaction > Duration{}) {
    thresholds.quota_left = 2 * kKernelTick + config_.edge.quota_reaction;
  }
  bpf_->slots().set_edges(vm.id, thresholds);
}

Result<> Agent::Loop::connect_files(const Vm& vm) {
  auto process = ProcessWatch::open(proc_, vm.identity);
  if (!process) return pass(process, "attach");
  auto attached = files_->attach(vm);
  if (!attached) return pass(attached, "attach");
  const VmId id = vm.id;
  auto watched = events_.watch(
      process->fd(), EPOLLIN,
      [this, id](std::uint32_t) { remove(id, "its process ended"); });
  if (!watched) {
    (void)files_->detach(id);  // it was attached a line ago
    return pass(watched, "attach");
  }
  ends_.emplace(id, std::move(*process));
  return {};
}

Result<> Agent::Loop::connect(const Vm& vm) {
  auto connected = bpf_ ? connect_bpf(vm) : connect_files(vm);
  if (!connected) return connected;
  if (cgroups_ && !vm.identity.cgroup.empty()) {
    auto throttle = throttle_.attach(vm, *cgroups_);
    if (!throttle) {
      log_debug("attach vm={} what=\"{}\" next=\"no throttled time\"",
                one_word(vm.identity.name), escaped(throttle.error().what));
    }
  }
  return {};
}

Result<VmId> Agent::Loop::add(const VmIdentity& identity) {
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
  return vm.id;
}

Vm* Agent::Loop::vm_of(VmId id) {
  const auto it = std::find_if(vms_.begin(), vms_.end(),
                               [&](const Vm& vm) { return vm.id == id; });
  return it == vms_.end() ? nullptr : &*it;
}

void Agent::Loop::remove(VmId id, const char* why) {
  const Vm* vm = vm_of(id);
  if (vm == nullptr) return;
  if (bpf_) {
    bpf_->forget_blame(id);
    bpf_->slots().close(id);
  } else {
    const auto end = ends_.find(id);
    if (end != ends_.end()) events_.forget(end->second.fd());
    ends_.erase(id);
    (void)files_->detach(id);  // it is attached, by the invariant
  }
  throttle_.detach(id);
  log_info("detached vm={} id={} why=\"{}\"", one_word(vm->identity.name),
           static_cast<std::uint32_t>(id), why);
  vms_.erase(vms_.begin() + (vm - vms_.data()));
}

Result<VmId> Agent::Loop::attach(const AttachRequest& request) {
  auto identity = identify(proc_, cgroups(), request.pid);
  if (!identity) return pass(identity, "attach");
  if (is_attached(*identity)) {
    return fail(0, "attach: pid " + std::to_string(request.pid) +
                       " is attached already: see `outrider vm list`");
  }
  if (!request.cgroup.empty()) {
    if (!cgroups_) return fail(0, "attach: this host has no cgroup v2 tree");
    auto used = use_cgroup(*identity, *cgroups_, request.cgroup);
    if (!used) return pass(used, "attach");
  }
  if (!request.name.empty()) identity->name = request.name;
  identity->origin = VmOrigin::kOperator;
  finder_->stop_ignoring(*identity);
  return add(*identity);
}

Result<> Agent::Loop::detach(VmId id) {
  const Vm* vm = vm_of(id);
  if (vm == nullptr) return fail(ENOENT, "no such VM");
  finder_->ignore(vm->identity);
  remove(id, "an operator asked for it");
  return {};
}

const Sample& Agent::Loop::sample() {
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

void Agent::Loop::tick() {
  const std::uint64_t passed = tick_timer_->take();
  if (passed == 0) return;
  ++ticks_;
  ticks_skipped_ += passed - 1;
  if (finder_->is_looking()) {
    add_found(finder_->look_into_fresh(monotonic_now()));
  }
  const Sample& now = sample();
  if (now.taken >= second_due_) {
    second_due_ = now.taken + std::chrono::seconds{1};
    second_ = series_.update(now);
  }
}

void Agent::Loop::slow_tick() {
  if (slow_timer_->take() == 0) return;
  ++slow_ticks_;
  throttle_.read_all();
  follow_moves();
  if (bpf_ && slow_ticks_ % kScanPeriod == 0 && config_.sense.blame) {
    bpf_->read_blame();
  }
  if (slow_ticks_ % kScanPeriod == 0) follow_kvm();
  // Without BPF nothing tells of a process that enters its first guest.
  if (files_ && slow_ticks_ % kScanPeriod == 0) find_vms();
}

// A host may load KVM long after it started us: its tracepoints come with it.
void Agent::Loop::follow_kvm() {
  if (!bpf_ || bpf_->sees_kvm() || access("/sys/module/kvm", F_OK) != 0) return;
  log_info("kvm what=\"the module is loaded now\" next=\"the eyes open anew\"");
  events_.forget(bpf_->event_fd());
  bpf_.reset();
  degraded_.clear();
  open_cgroups();
  auto opened = open_sensor();
  if (!opened) {
    log_error("kvm what=\"{}\" next=\"stop\"", escaped(opened.error().what));
    stopping_ = true;
    return;
  }
  const std::vector<Vm> known = std::exchange(vms_, {});
  for (const Vm& vm : known) throttle_.detach(vm.id);
  for (const Vm& vm : known) {
    if (connect(vm)) vms_.push_back(vm);
  }
}

void Agent::Loop::follow_moves() {
  for (const VmId id : moved_) {
    Vm* vm = vm_of(id);
    if (vm == nullptr || vm->identity.origin == VmOrigin::kOperator) continue;
    auto now = identify(proc_, cgroups(), vm->identity.pid);
    if (!now || now->cgroup == vm->identity.cgroup) continue;
    vm->identity.cgroup = now->cgroup;
    vm->identity.cgroup_id = now->cgroup_id;
    vm->identity.origin = now->origin;
    throttle_.detach(id);
    if (cgroups_ && !now->cgroup.empty()) {
      auto attached = throttle_.attach(*vm, *cgroups_);
      if (!attached) {
        log_debug("moved vm={} what=\"{}\" next=\"no throttled time\"",
                  one_word(vm->identity.name), escaped(attached.error().what));
      }
    }
    log_info("moved vm={} cgroup={}", one_word(vm->identity.name),
             one_word(vm->identity.cgroup));
  }
  moved_.clear();
}

void Agent::Loop::on_new_vm(const SensorEvent& event) {
  if (auto vm = finder_->look_at(event.tgid)) return add_found({*vm});
  if (kill(event.tgid, 0) != 0 && errno == ESRCH) {
    bpf_->forget_process(event.tgid);
  }
}

void Agent::Loop::on_kernel_thread(const SensorEvent& event) {
  if (class_by_name(proc_, event.tid, event.tid) != ThreadClass::kVhost) return;
  (void)bpf_->slots().adopt(event.vm, event.tid, ThreadClass::kVhost);
}

void Agent::Loop::on_event(const SensorEvent& event) {
  switch (event.kind) {
    case SensorEvent::Kind::kNewVm:
      return on_new_vm(event);
    case SensorEvent::Kind::kVmGone:
      return remove(event.vm, "its process ended");
    case SensorEvent::Kind::kRenamed: {
      const ThreadClass found = class_by_name(proc_, event.tgid, event.tid);
      return bpf_->slots().set_class(event.tid, found);
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
      return;
  }
}

AgentStatus Agent::Loop::status() const {
  AgentStatus status;
  status.version = OUTRIDER_VERSION;
  status.sensor = bpf_ ? "bpf" : "files";
  status.degraded = degraded_;
  status.uptime = monotonic_now() - started_;
  status.ticks = ticks_;
  status.ticks_skipped = ticks_skipped_;
  status.edges = edges_;
  status.lost = bpf_ ? bpf_->sample().lost : files_->sample().lost;
  if (bpf_) {
    status.thread_slots = bpf_->slots().threads_in_use();
    status.table_entries = bpf_->table_entries();
  }
  status.own_cpu = thread_cpu_time();
  return status;
}

Agent::Agent(std::unique_ptr<Loop> loop) : loop_(std::move(loop)) {}
Agent::~Agent() = default;

Result<std::unique_ptr<Agent>> Agent::make(const Config& config) {
  auto proc = ProcRoot::open();
  if (!proc) return pass(proc, "agent");
  auto events = EventLoop::make();
  if (!events) return pass(events, "agent");
  auto loop =
      std::make_unique<Loop>(config, std::move(*proc), std::move(*events));
  auto started = loop->start();
  if (!started) return pass(started, "agent");
  return std::unique_ptr<Agent>(new Agent(std::move(loop)));
}

const std::vector<Vm>& Agent::vms() const { return loop_->vms_; }

const Vm* Agent::find(std::string_view name) const {
  std::uint32_t number = 0;
  const auto parsed =
      std::from_chars(name.data(), name.data() + name.size(), number);
  const bool is_number =
      parsed.ec == std::errc{} && parsed.ptr == name.data() + name.size();
  for (const Vm& vm : loop_->vms_) {
    if (vm.identity.name == name || vm.identity.uuid == name) return &vm;
    if (is_number && static_cast<std::uint32_t>(vm.id) == number) return &vm;
  }
  return nullptr;
}

Result<VmId> Agent::attach(const AttachRequest& request) {
  return loop_->attach(request);
}
Result<> Agent::detach(VmId vm) { return loop_->detach(vm); }
const Sample& Agent::sample() { return loop_->sample(); }
const Demand& Agent::demand() const { return loop_->second_; }
AgentStatus Agent::status() const { return loop_->status(); }
EventLoop& Agent::events() { return loop_->events_; }
Result<> Agent::run() { return loop_->run(); }

}  // namespace outrider
