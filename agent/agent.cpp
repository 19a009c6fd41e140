// SPDX-License-Identifier: Apache-2.0
#include "agent/agent.h"

#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>
#include <optional>
#include <utility>

#include "agent/attached_vms.h"
#include "agent/discovery.h"
#include "agent/log.h"
#include "agent/loop_thread.h"
#include "agent/notify.h"
#include "agent/sys/clock.h"
#include "agent/vm_finder.h"

namespace outrider {
namespace {

// Files are read and rescanned at 10 Hz at most, as the agent promises.
constexpr Duration kFileTick = std::chrono::milliseconds{100};

constexpr std::uint32_t kScanPeriod = 10;  // slow ticks

// The warden takes a loop that does not turn for a hung one.
constexpr Duration kBeatPeriod = std::chrono::milliseconds{50};

std::int64_t online_cpus() {
  return std::max<std::int64_t>(sysconf(_SC_NPROCESSORS_ONLN), 1);
}

}  // namespace

/// Everything behind Agent's face: the clockwork, and who calls whom.
/// Invariant: after `start`, vms_ and finder_ are set.
class Agent::Loop {
 public:
  explicit Loop(const Config& config, ProcRoot proc, EventLoop events)
      : config_(config), proc_(std::move(proc)), events_(std::move(events)) {}

  Result<> start();
  Result<> run();
  Result<VmId> attach(const AttachRequest& request);
  Result<> detach(VmId vm);
  AgentStatus status() const;
  AttachedVms& attached() { return *vms_; }
  EventLoop& events() { return events_; }
  const Demand& second() const { return second_; }
  CpuControl& cpu() { return *cpu_; }
  MemoryControl& memory() { return *memory_; }
  Resizes& resizes() { return *resizes_; }

 private:
  Result<> open_cgroups();
  Result<> watch_everything();
  Result<> watch_signals();
  void prioritise();
  void find_vms();
  void add_found(const std::vector<VmIdentity>& found);
  void on_new_process(pid_t pid);
  void tick();
  void slow_tick();
  void beat();
  void tell_alive(Instant now);
  void follow_kvm();
  std::vector<Degradation> degraded() const;

  Config config_;
  ProcRoot proc_;
  EventLoop events_;
  std::optional<CgroupTree> cgroups_;
  std::optional<CpuControl> cpu_;
  std::optional<MemoryControl> memory_;
  std::optional<Resizes> resizes_;
  std::optional<AttachedVms> vms_;
  std::optional<VmFinder> finder_;
  std::optional<PeriodicTimer> tick_timer_;
  std::optional<PeriodicTimer> slow_timer_;
  std::optional<PeriodicTimer> beat_timer_;  // where ticks are too rare
  Fd signals_;
  DemandSeries ticks_series_;
  DemandSeries seconds_series_;
  Demand second_;
  std::vector<Degradation> host_degraded_;  // the sensor has its own
  std::uint64_t ticks_ = 0;
  std::uint64_t ticks_skipped_ = 0;
  std::uint64_t slow_ticks_ = 0;
  std::uint64_t lost_seen_ = 0;
  Instant started_{};
  Instant second_due_{};
  Instant ticked_{};  // when the last tick was finished
  std::optional<Duration> watchdog_ = watchdog_period();
  Instant alive_due_{};         // when systemd is to be told next
  bool some_left_out_ = false;  // a VM that could not be attached
  bool stopping_ = false;
};

Result<> Agent::Loop::open_cgroups() {
  if (!config_.cgroup_mount.empty()) {
    auto tree = CgroupTree::open(config_.cgroup_mount);
    if (!tree) return pass(tree, "cgroup_mount");
    cgroups_.emplace(std::move(*tree));
    return {};
  }
  auto tree = open_host_cgroups(proc_);
  auto mounts = read_cgroup_mounts(proc_);
  if (tree) cgroups_.emplace(std::move(*tree));
  if (!mounts || mounts->mode != CgroupMode::kUnified) {
    host_degraded_.push_back(
        {"cgroup v2 alone", "no throttled time, and VMs can only be observed"});
  }
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
  if (config_.tick_period > kBeatPeriod) {
    auto beat_timer = PeriodicTimer::make(kBeatPeriod);
    if (!beat_timer) return pass(beat_timer, "pulse");
    beat_timer_.emplace(std::move(*beat_timer));
    auto beats = events_.watch(beat_timer_->fd(), EPOLLIN,
                               [this](std::uint32_t) { beat(); });
    if (!beats) return pass(beats, "pulse");
  }
  if (finder_->watch_fd() < 0) return {};
  return events_.watch(finder_->watch_fd(), EPOLLIN, [this](std::uint32_t) {
    if (finder_->take_changes(monotonic_now())) find_vms();
  });
}

void Agent::Loop::prioritise() {
  if (config_.loop_priority == 0) return;
  auto done = prioritise_loop(config_.loop_priority);
  if (done) return;
  host_degraded_.push_back(
      {done.error().what + ": " + std::strerror(done.error().code),
       "on a busy host the loop may wait some ms for a CPU"});
}

Result<> Agent::Loop::start() {
  started_ = monotonic_now();
  second_due_ = started_;
  ticked_ = started_;
  auto opened = open_cgroups();
  if (!opened) return pass(opened, "start");
  if (!events_.refusal().empty()) {
    host_degraded_.push_back(
        {events_.refusal(), "the loop waits with epoll, as by default"});
  }
  const CgroupTree* cgroups = cgroups_ ? &*cgroups_ : nullptr;
  vms_.emplace(
      config_,
      AttachedVms::World{
          .proc = proc_,
          .cgroups = cgroups,
          .events = events_,
          .on_new_process = [this](pid_t pid) { on_new_process(pid); },
          .on_came =
              [this](const Vm& vm) {
                cpu_->came(vm);
                memory_->came(vm);
              },
          .on_gone =
              [this](VmId vm) {
                cpu_->gone(vm);
                resizes_->gone(vm);
                memory_->gone(vm);
              },
          .on_edge = [this](const SensorEvent& event) { cpu_->edge(event); }});
  auto sensor = vms_->open();
  if (!sensor) return pass(sensor, "start");
  if (!vms_->is_bpf()) {
    config_.tick_period = std::max(config_.tick_period, kFileTick);
  }
  cpu_.emplace(config_, CpuControl::World{.cgroups = cgroups,
                                          .events = events_,
                                          .cpus = online_cpus()});
  cpu_->start();
  memory_.emplace(config_,
                  MemoryControl::World{
                      .proc = proc_, .cgroups = cgroups, .events = events_});
  memory_->start();
  resizes_.emplace(
      Resizes::World{.proc = proc_, .events = events_, .memory = *memory_});
  if (!memory_->cannot().empty()) {
    host_degraded_.push_back(
        {"memory: " + memory_->cannot(), "no memory is watched or kept free"});
  }
  // The watch comes before the first scan, so that nothing falls between.
  finder_.emplace(VmFinder::make(config_.discovery, proc_, cgroups));
  auto watched = watch_everything();
  if (!watched) return pass(watched, "start");
  find_vms();
  prioritise();
  for (const Degradation& each : degraded()) {
    log_warning("degraded what=\"{}\" cost=\"{}\"", escaped(each.what),
                escaped(each.cost));
  }
  return {};
}

Result<> Agent::Loop::run() {
  // Now: nothing more is made from here on.
  drop_idle_pages();
  if (config_.loop_priority > 0) {
    auto locked = lock_memory();
    if (!locked) log_warning("{}", escaped(locked.error().what));
  }
  log_info("ready sensor={} vms={} tick_ms={} mode={}",
           vms_->is_bpf() ? "bpf" : "files", vms_->vms().size(),
           config_.tick_period / std::chrono::milliseconds{1},
           mode_name(cpu_->mode()));
  while (!stopping_) {
    auto turned = events_.turn(Duration{-1});
    if (!turned) return pass(turned, "loop");
  }
  notify_stopping();
  cpu_->stop();
  resizes_->stop();
  memory_->stop();
  log_info("stopped vms={} ticks={}", vms_->vms().size(), ticks_);
  return {};
}

void Agent::Loop::find_vms() {
  std::vector<VmIdentity> known;
  for (const Vm& vm : vms_->vms()) known.push_back(vm.identity);
  add_found(finder_->scan(known));
}

void Agent::Loop::add_found(const std::vector<VmIdentity>& found) {
  for (const VmIdentity& identity : found) {
    if (vms_->has(identity)) continue;
    auto added = vms_->add(identity);
    if (!added) {
      log_warning("attach pid={} what=\"{}\" next=\"it is not observed\"",
                  identity.pid, escaped(added.error().what));
      some_left_out_ = true;
    }
  }
}

Result<VmId> Agent::Loop::attach(const AttachRequest& request) {
  auto identity = identify(proc_, cgroups_ ? &*cgroups_ : nullptr, request.pid);
  if (!identity) return pass(identity, "attach");
  if (vms_->has(*identity)) {
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
  return vms_->add(*identity);
}

Result<> Agent::Loop::detach(VmId id) {
  const Vm* vm = vms_->find(id);
  if (vm == nullptr) return fail(ENOENT, "no such VM");
  finder_->ignore(vm->identity);
  vms_->remove(id, "an operator asked for it");
  return {};
}

void Agent::Loop::tick() {
  const std::uint64_t passed = tick_timer_->take();
  if (passed == 0) return;
  // One and the same interrupt may have called for both: a hand-over is first.
  vms_->take_events();
  ++ticks_;
  ticks_skipped_ += passed - 1;
  if (finder_->is_looking()) {
    add_found(finder_->look_into_fresh(monotonic_now()));
  }
  const Sample& now = vms_->sample();
  cpu_->tick(ticks_series_.update(now), now);
  memory_->tick(now.taken);
  if (now.taken >= second_due_) {
    second_due_ = now.taken + std::chrono::seconds{1};
    second_ = seconds_series_.update(now);
  }
  ticked_ = monotonic_now();
  tell_alive(ticked_);
  // Last, and an edge waits for no more than one piece of it.
  do {
    vms_->take_events();
  } while (cpu_->ponder() || memory_->ponder());
}

void Agent::Loop::beat() {
  if (beat_timer_->take() == 0) return;
  cpu_->beat();
  // Ticks may be rarer than systemd's patience: one that is not overdue counts.
  const Instant now = monotonic_now();
  if (now - ticked_ < 2 * config_.tick_period) tell_alive(now);
}

void Agent::Loop::tell_alive(Instant now) {
  if (!watchdog_ || now < alive_due_) return;
  notify_alive();
  alive_due_ = now + *watchdog_ / 2;
}

void Agent::Loop::slow_tick() {
  if (slow_timer_->take() == 0) return;
  ++slow_ticks_;
  cpu_->slow_tick(monotonic_now());
  vms_->take_events();  // between its parts: an edge waits for no more than one
  vms_->read_cgroups();
  vms_->take_events();
  if (slow_ticks_ % kScanPeriod != 0) return;
  vms_->read_blame();
  follow_kvm();
  // Without BPF nothing tells of a process that enters its first guest, and
  // what is lost may have been just that.
  const std::uint64_t lost = vms_->last_sample().lost;
  const bool has_room = vms_->vms().size() < config_.vm_count_max;
  const bool is_due = !vms_->is_bpf() || lost != lost_seen_ ||
                      (has_room && std::exchange(some_left_out_, false));
  lost_seen_ = lost;
  if (is_due) find_vms();
}

void Agent::Loop::follow_kvm() {
  auto followed = vms_->follow_kvm();
  if (followed) return;
  log_error("{} next=\"stop\"", escaped(followed.error().what));
  stopping_ = true;
}

void Agent::Loop::on_new_process(pid_t pid) {
  if (auto vm = finder_->look_at(pid)) add_found({*vm});
  // BPF tells of the end of what was attached, and of that alone.
  if (has_ended(proc_, pid)) vms_->forget_process(pid);
}

std::vector<Degradation> Agent::Loop::degraded() const {
  std::vector<Degradation> all = host_degraded_;
  all.insert(all.end(), vms_->degraded().begin(), vms_->degraded().end());
  return all;
}

AgentStatus Agent::Loop::status() const {
  AgentStatus status;
  status.version = OUTRIDER_VERSION;
  status.sensor = vms_->is_bpf() ? "bpf" : "files";
  status.degraded = degraded();
  status.uptime = monotonic_now() - started_;
  status.ticks = ticks_;
  status.ticks_skipped = ticks_skipped_;
  status.edges = vms_->edges();
  status.lost = vms_->last_sample().lost;
  status.thread_slots = vms_->thread_slots();
  status.table_entries = vms_->table_entries();
  status.own_cpu = thread_cpu_time();
  return status;
}

Agent::Agent(std::unique_ptr<Loop> loop) : loop_(std::move(loop)) {}
Agent::~Agent() = default;

Result<std::unique_ptr<Agent>> Agent::make(const Config& config) {
  auto proc = ProcRoot::open();
  if (!proc) return pass(proc, "agent");
  auto events = EventLoop::make(config.event_backend);
  if (!events) return pass(events, "agent");
  auto loop =
      std::make_unique<Loop>(config, std::move(*proc), std::move(*events));
  auto started = loop->start();
  if (!started) return pass(started, "agent");
  return std::unique_ptr<Agent>(new Agent(std::move(loop)));
}

const std::vector<Vm>& Agent::vms() const { return loop_->attached().vms(); }

const Vm* Agent::find(std::string_view name) const {
  std::uint32_t number = 0;
  const auto parsed =
      std::from_chars(name.data(), name.data() + name.size(), number);
  const bool is_number =
      parsed.ec == std::errc{} && parsed.ptr == name.data() + name.size();
  for (const Vm& vm : vms()) {
    if (vm.identity.name == name || vm.identity.uuid == name) return &vm;
    if (is_number && static_cast<std::uint32_t>(vm.id) == number) return &vm;
  }
  return nullptr;
}

Result<VmId> Agent::attach(const AttachRequest& request) {
  return loop_->attach(request);
}
Result<> Agent::detach(VmId vm) { return loop_->detach(vm); }
const Sample& Agent::sample() { return loop_->attached().sample(); }
const Demand& Agent::demand() const { return loop_->second(); }
AgentStatus Agent::status() const { return loop_->status(); }
CpuControl& Agent::cpu() { return loop_->cpu(); }
MemoryControl& Agent::memory() { return loop_->memory(); }
Resizes& Agent::resizes() { return loop_->resizes(); }
EventLoop& Agent::events() { return loop_->events(); }
Result<> Agent::run() { return loop_->run(); }

}  // namespace outrider
