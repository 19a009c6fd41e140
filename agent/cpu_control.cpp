// SPDX-License-Identifier: Apache-2.0
#include "agent/cpu_control.h"

#include <fmt/format.h>
#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>

#include "agent/config_policy.h"
#include "agent/core/journal_replay.h"
#include "agent/core/peak_forecaster.h"
#include "agent/effective_limits.h"
#include "agent/log.h"
#include "agent/sys/clock.h"
#include "agent/warm_start.h"

namespace outrider {
namespace {

std::int32_t narrow(MilliCpus value) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
  return static_cast<std::int32_t>(std::clamp(value.count(), -kMost, kMost));
}

CpuInput to_input(const VmDemand& demand) {
  CpuInput input;
  input.vm = demand.id;
  for (std::size_t i = 0; i < kThreadClasses; ++i) {
    input.demand[i] = narrow(demand.by_class[i].demand);
  }
  input.overcounted = narrow(demand.total.overcounted);
  input.open_wait = narrow(demand.total.open_wait);
  input.usage = narrow(demand.total.usage);
  input.wait = narrow(demand.total.wait);
  input.throttled = narrow(demand.throttled);
  input.upper_bound = demand.upper_bound;
  return input;
}

KnobOptions knob_options(const CpuPolicy& cpu) {
  KnobOptions options;
  options.split = cpu.split;
  options.cap_period = cpu.cap_period;
  options.weights = !cpu.weights    ? WeightOwner::kNobody
                    : has_systemd() ? WeightOwner::kSystemd
                                    : WeightOwner::kOutrider;
  return options;
}

// For advice, where no hands are attached that know better.
MilliCpus owners_cap(const CgroupTree& tree, const Vm& vm) {
  auto path = read_effective_cap(tree, vm.identity.cgroup);
  if (!path || path->path.empty()) return kNoCap;
  const PathCap& own = path->path.back();
  return own.cgroup == vm.identity.cgroup ? own.cap : kNoCap;
}

}  // namespace

std::string_view mode_name(Mode mode) {
  return kModeNames[static_cast<std::size_t>(mode)];
}

CpuControl::CpuControl(const Config& config, World world)
    : config_(config),
      world_(world),
      controller_(config.policy, {.cpus = world.cpus}, config.tick_period,
                  [](std::uint32_t steps) { return make_forecaster(steps); }),
      dry_run_([this](const Action& action) {
        const auto known = known_.find(action.vm);
        if (known == known_.end()) return;
        log_info("advise {}",
                 would_set(action, one_word(known->second.vm.identity.name)));
      }) {}

CpuControl::~CpuControl() = default;

void CpuControl::start() {
  if (config_.journal.enabled) {
    inherit();
    start_journal();
  }
  foresight_ = start_foresight(config_.predictive);
  if (config_.policy.mode != Mode::kEnforce) return;
  auto taken = take_hands();
  if (taken) return;
  cannot_enforce_ = taken.error().what;
  log_error("enforce what=\"{}\" next=\"mode is observe\"",
            escaped(cannot_enforce_));
  change(HostModeCall{Mode::kObserve});
}

void CpuControl::start_journal() {
  auto made = Journal::make(
      {.config = config_.journal, .configuration = dump_config(config_)});
  if (made) {
    journal_ = *std::move(made);
    return;
  }
  log_error("journal what=\"{}\" error=\"{}\" next=\"go on without\"",
            escaped(made.error().what), std::strerror(made.error().code));
}

// Before the journal begins, so that its first state has it.
void CpuControl::inherit() {
  auto ago = inherit_from_journal(
      config_.journal.directory,
      [](std::uint32_t steps) { return make_forecaster(steps); },
      monotonic_now(), controller_);
  if (ago) {
    log_info("learned what=\"of {} ms ago\" next=\"go on from it\"",
             *ago / std::chrono::milliseconds{1});
  } else {
    const Error& error = ago.error();
    log_info("learned what=\"{}\"{} next=\"start anew\"", escaped(error.what),
             error.code == 0
                 ? ""
                 : fmt::format(" error=\"{}\"", std::strerror(error.code)));
  }
}

// Made from the record itself, so that a replay makes the same call.
void CpuControl::change(const JournalRecord& call) {
  (void)repeat_call(call, controller_);  // only an AddCall may be refused
  if (journal_) journal_->call(call);
}

void CpuControl::slow_tick(Instant now) {
  if (journal_) journal_->slow_tick(controller_, now);
  if (foresight_) foresee();
}

// A VM that comes anew is told anew: its Seat has forgotten.
void CpuControl::foresee() {
  foresight_->turn(wall_ns() / 1'000'000'000);
  for (std::size_t i = 0; i < controller_.vm_count(); ++i) {
    const VmState& vm = controller_.vm(i);
    const std::string& uuid = vm.facts.uuid;
    const MilliCpus peak =
        vm.missing ? foresight_->peak(uuid) : foresight_->add(uuid, vm.demand);
    if (peak != vm.foreseen) change(ForeseeCall{vm.facts.id, peak});
  }
}

Result<> CpuControl::take_hands() {
  if (world_.cgroups == nullptr) {
    return fail(0, "this host has no cgroup v2 tree to set limits in");
  }
  auto hands =
      CpuHands::take(*world_.cgroups, {.directory = config_.run_directory,
                                       .loop_priority = config_.loop_priority,
                                       .hang_deadline = config_.hang_deadline});
  if (!hands) return pass(hands, "enforce");
  hands_ = std::move(*hands);
  auto watched = watch_warden();
  return watched ? watch_others() : watched;
}

Result<> CpuControl::watch_warden() {
  return world_.events.watch(hands_->warden->fd(), EPOLLIN,
                             [this](std::uint32_t) { on_warden_death(); });
}

// Once, until the next tick has seen what it was: a wake-up for each write of
// somebody else's would be his to command.
Result<> CpuControl::watch_others() {
  hears_others_ = true;
  return world_.events.watch(
      hands_->foreign.fd(), EPOLLIN, [this](std::uint32_t) {
        hands_->foreign.stir();
        hears_others_ = !world_.events.change(hands_->foreign.fd(), 0);
      });
}

// Nothing is enforced without a warden: if another cannot be had, everything
// goes back at once.
void CpuControl::on_warden_death() {
  world_.events.forget(hands_->warden->fd());
  hands_->warden->stop();
  log_warning("warden what=\"it died\" next=\"start another\"");
  auto started = hands_->start_warden();
  if (started) started = watch_warden();
  if (started) return;
  cannot_enforce_ = started.error().what;
  log_error("warden what=\"{}\" next=\"all limits back, mode is observe\"",
            escaped(cannot_enforce_));
  (void)set_mode(Mode::kObserve);  // what fails is in the table still
  world_.events.forget(hands_->foreign.fd());
  hands_.reset();  // to enforce again takes new ones, and a warden
}

void CpuControl::beat() {
  if (!hands_) return;
  hands_->table.beat(
      static_cast<std::uint64_t>(monotonic_now().time_since_epoch().count()));
}

// What the VM's own cgroup says now is its baseline.
MilliCpus CpuControl::attach_hands(const Vm& vm, bool& has_cap) {
  has_cap = false;
  if (vm.identity.cgroup.empty()) return kNoCap;
  if (!hands_) {
    // Advice needs no hands, but the owner's cap bounds it.
    has_cap = world_.cgroups != nullptr;
    return has_cap ? owners_cap(*world_.cgroups, vm) : kNoCap;
  }
  auto attached = hands_->actuator.attach(vm, knob_options(config_.policy.cpu));
  if (!attached) {
    log_warning("enforce vm={} what=\"{}\" next=\"it is only observed\"",
                one_word(vm.identity.name), escaped(attached.error().what));
    return kNoCap;
  }
  for (const Error& missing : attached->missing) {
    log_info("enforce vm={} what=\"{}\" next=\"without it\"",
             one_word(vm.identity.name), escaped(missing.what));
  }
  auto watched = hands_->foreign.watch(vm.id, attached->cgroups);
  if (!watched) {
    log_warning("watch vm={} what=\"{}\" next=\"other writers go unseen\"",
                one_word(vm.identity.name), escaped(watched.error().what));
  }
  has_cap = true;
  return attached->cap;
}

void CpuControl::came(const Vm& vm) {
  if (known_.count(vm.id) > 0) gone(vm.id);
  bool has_cap = false;
  const MilliCpus baseline = attach_hands(vm, has_cap);
  add(vm, baseline, has_cap);
}

void CpuControl::add(const Vm& vm, MilliCpus baseline, bool has_cap) {
  known_[vm.id].vm = vm;
  const VmFacts facts{.id = vm.id,
                      .name = vm.identity.name,
                      .uuid = vm.identity.uuid,
                      .vcpus = 1,
                      .baseline_cap = baseline,
                      .has_cap = has_cap};
  auto added = controller_.add_vm(facts);
  if (journal_) journal_->call(AddCall{facts});
  inputs_.reserve(known_.size());
  outcomes_.reserve(known_.size() * kKnobs);
  if (added) return;
  log_error("policy vm={} what=\"{}\" next=\"it is only observed\"",
            one_word(vm.identity.name), escaped(added.error().what));
}

// Taking the hands may have put back what a dead agent had left: then what was
// held to be the owner's cap was not.
void CpuControl::attach_again(const Vm& vm) {
  bool has_cap = false;
  const MilliCpus baseline = attach_hands(vm, has_cap);
  const VmState* state = controller_.find(vm.id);
  if (!has_cap || state == nullptr || state->facts.baseline_cap == baseline) {
    return;
  }
  change(RemoveCall{vm.id});
  add(vm, baseline, has_cap);
}

void CpuControl::gone(VmId vm) {
  if (known_.erase(vm) == 0) return;
  change(RemoveCall{vm});
  if (!hands_) return;
  hands_->foreign.forget(vm);
  (void)hands_->actuator.detach(vm);  // most often its cgroup is gone, too
}

// A vCPU is known to be one when it first enters the guest.
void CpuControl::follow_vcpus(const Sample& sample) {
  for (const VmSample& vm : sample.vms) {
    const VmState* state = controller_.find(vm.id);
    if (vm.vcpu_count == 0 || state == nullptr) continue;
    if (state->facts.vcpus == vm.vcpu_count) continue;
    change(ResizeCall{vm.id, vm.vcpu_count});
  }
}

void CpuControl::fill_inputs(const Demand& demand) {
  inputs_.clear();
  for (const VmDemand& vm : demand.vms) inputs_.push_back(to_input(vm));
}

void CpuControl::tick(const Demand& demand, const Sample& sample) {
  const Instant start = monotonic_now();
  if (hands_) {
    if (hands_->table.generation() != hands_->generation) adopt_after_warden();
    look_for_others(sample.taken);
  }
  if (demand.interval > Duration{}) {
    follow_vcpus(sample);
    fill_inputs(demand);
    decide({.now = sample.taken, .interval = demand.interval, .vms = inputs_},
           start);
  }
  beat();
}

void CpuControl::decide(const TickInput& input, Instant start) {
  const auto plan = controller_.tick(input);
  const Instant decided = monotonic_now();
  const auto outcomes = carry_out(plan, input.now);
  const Duration act = plan.empty() ? Duration{} : monotonic_now() - decided;
  latencies_.tick_decide.add(decided - start);
  if (!plan.empty()) latencies_.tick_act.add(act);
  if (!journal_) return;
  journal_->tick(input,
                 {.actions = plan,
                  .outcomes = outcomes,
                  .took = {.decide = decided - start, .act = act}},
                 controller_);
}

void CpuControl::edge(const SensorEvent& event) {
  const Instant start = monotonic_now();
  const auto kind = event.kind == SensorEvent::Kind::kQuotaEdge
                        ? EdgeInput::Kind::kQuota
                        : EdgeInput::Kind::kWait;
  const EdgeInput input{
      .at = start, .vm = event.vm, .kind = kind, .value = event.value};
  const auto plan = controller_.edge(input);
  const Instant decided = monotonic_now();
  const auto outcomes = hand_over(plan, start);
  const Instant done = monotonic_now();
  if (journal_) {
    journal_->edge(input, {.actions = plan,
                           .outcomes = outcomes,
                           .took = {.sense = start - event.at,
                                    .decide = decided - start,
                                    .act = done - decided}});
  }
  if (plan.empty()) return;
  latencies_.edge_to_loop.add(start - event.at);
  latencies_.edge_decide.add(decided - start);
  latencies_.edge_act.add(done - decided);
  if (!hands_) return;
  const Instant written = hands_->actuator.written_at();
  if (written >= decided) latencies_.edge_total.add(written - event.at);
}

// What came of it, in `outcomes_`.
std::span<const Outcome> CpuControl::carry_out(std::span<const Action> plan,
                                               Instant now) {
  outcomes_.resize(plan.size());
  if (plan.empty()) return outcomes_;
  for (std::size_t i = 0; i < plan.size(); ++i) {
    Actuator& hands = is_enforced(plan[i].vm)
                          ? static_cast<Actuator&>(hands_->actuator)
                          : dry_run_;
    hands.apply(plan.subspan(i, 1), std::span(outcomes_).subspan(i, 1));
  }
  return settle(plan, now);
}

// All of one VM. That inotify is silent is known without asking, and what a
// file says is not.
std::span<const Outcome> CpuControl::hand_over(std::span<const Action> plan,
                                               Instant now) {
  if (plan.empty()) return {};
  const VmId vm = plan.front().vm;
  if (!is_enforced(vm) || !hands_->foreign.is_quiet(vm)) {
    return carry_out(plan, now);
  }
  outcomes_.resize(plan.size());
  hands_->actuator.apply_at_once(plan, outcomes_);
  return settle(plan, now);
}

bool CpuControl::is_enforced(VmId vm) const {
  const VmState* state = controller_.find(vm);
  return hands_ != nullptr && state != nullptr &&
         state->policy.mode == Mode::kEnforce;
}

std::span<const Outcome> CpuControl::settle(std::span<const Action> plan,
                                            Instant now) {
  controller_.settle(plan, outcomes_);
  for (std::size_t i = 0; i < plan.size(); ++i) {
    note(plan[i], outcomes_[i], now);
  }
  return outcomes_;
}

// Once per row of failures, at the place that decides what to do about it.
void CpuControl::note(const Action& action, const Outcome& outcome,
                      Instant now) {
  const auto known = known_.find(action.vm);
  if (known == known_.end()) return;
  known->second.last[static_cast<std::size_t>(action.knob)] = {action, outcome,
                                                               now};
  const bool is_well = outcome.kind == Outcome::Kind::kApplied;
  const bool is_refused =
      outcome.kind == Outcome::Kind::kUnconfirmed && outcome.error != ECANCELED;
  if (is_refused && !known->second.complained) {
    log_warning(
        "actuate vm={} what=\"{}\" errno={} why=\"{}\" next=\"again, "
        "later and later\"",
        one_word(known->second.vm.identity.name),
        would_set(action, one_word(known->second.vm.identity.name)),
        outcome.error, std::strerror(outcome.error));
  }
  known->second.complained =
      is_refused || (known->second.complained && !is_well);
}

void CpuControl::look_for_others(Instant now) {
  if (!hears_others_) {
    hears_others_ =
        world_.events.change(hands_->foreign.fd(), EPOLLIN).has_value();
  }
  for (const ForeignWrite& each : hands_->foreign.take(now, hands_->actuator)) {
    on_foreign(each, now);
  }
}

void CpuControl::on_foreign(const ForeignWrite& write, Instant now) {
  const auto known = known_.find(write.vm);
  if (known == known_.end()) return;
  const VmState* before = controller_.find(write.vm);
  const bool was_contended = before != nullptr && before->contended;
  if (write.knob == Knob::kCpuMax) {
    change(ForeignWriteCall{write.vm, now, MilliCpus{write.value}});
  }
  if (was_contended) return;
  const VmState* after = controller_.find(write.vm);
  const bool is_contended = after != nullptr && after->contended;
  log_warning("foreign vm={} knob={} value={} next=\"{}\"",
              one_word(known->second.vm.identity.name), to_text(write.knob),
              write.value,
              is_contended ? "left alone until `outrider vm release-contention`"
                           : "set once more, after a second");
}

// The agent hung, the warden put everything back: what the files say now is
// where it goes on from.
void CpuControl::adopt_after_warden() {
  hands_->actuator.adopt_all();
  hands_->generation = hands_->table.generation();
  for (const auto& [id, known] : known_) {
    auto cap = hands_->actuator.read_cap(id);
    if (cap) change(AdoptCall{id, *cap});
  }
  log_error(
      "hung what=\"the warden has put all limits back\" "
      "next=\"start from these\"");
}

void CpuControl::stop() {
  if (hands_) put_all_back();
  if (journal_) journal_->finish(controller_, monotonic_now());
}

void CpuControl::put_all_back() {
  auto restored = hands_->actuator.restore_all();
  if (!restored) {
    log_error("restore what=\"{}\" next=\"`outrider release`\"",
              escaped(restored.error().what));
  }
  change(HostModeCall{Mode::kObserve});
  world_.events.forget(hands_->warden->fd());
  world_.events.forget(hands_->foreign.fd());
  if (restored) hands_->warden->stop();  // else it does what we could not
}

Result<> CpuControl::check_mode(Mode mode) const {
  if (mode == Mode::kObserve) return {};
  std::vector<VmFacts> vms;
  for (std::size_t i = 0; i < controller_.vm_count(); ++i) {
    vms.push_back(controller_.vm(i).facts);
  }
  return Controller::check(controller_.policy(), {.cpus = world_.cpus}, vms);
}

Result<> CpuControl::set_mode(Mode mode) {
  auto can_be_met = check_mode(mode);
  if (!can_be_met) return can_be_met;
  if (mode == Mode::kEnforce && !hands_) {
    auto taken = take_hands();
    if (!taken) return taken;
    cannot_enforce_.clear();
    for (auto& [id, known] : known_) {
      attach_again(known.vm);
    }
  }
  // What is not taken is in the table still: no reason to go on writing.
  change(HostModeCall{mode});
  if (mode == Mode::kEnforce || !hands_) return {};
  auto restored = hands_->actuator.restore_all();
  if (!restored) return pass(restored, "mode");
  return {};
}

Result<> CpuControl::set_mode(VmId vm, Mode mode) {
  if (known_.count(vm) == 0) return fail(ENOENT, "no such VM");
  if (mode < Mode::kEnforce && hands_) {
    auto restored = hands_->actuator.restore(vm);
    if (!restored) return pass(restored, "mode");
  }
  change(ModeCall{vm, mode});
  return {};
}

Result<> CpuControl::release_contention(VmId vm) {
  if (known_.count(vm) == 0) return fail(ENOENT, "no such VM");
  if (hands_) {
    auto adopted = hands_->actuator.adopt(vm);
    if (!adopted) return adopted;
  }
  change(ReleaseCall{vm});
  return {};
}

Result<> CpuControl::let_go(VmId vm) {
  if (known_.count(vm) == 0) return fail(ENOENT, "no such VM");
  if (hands_) {
    auto restored = hands_->actuator.restore(vm);
    if (!restored) return restored;
  }
  change(LetGoCall{vm});
  return {};
}

Result<> CpuControl::take_learned(const std::string& uuid,
                                  std::vector<std::byte> bytes) {
  auto taken = controller_.take_learned(uuid, bytes);
  if (taken && journal_) journal_->call(LearnedCall{uuid, std::move(bytes)});
  return taken;
}

Result<> CpuControl::take_up(VmId vm) {
  if (known_.count(vm) == 0) return fail(ENOENT, "no such VM");
  change(TakeUpCall{vm});
  return {};
}

std::vector<HeldBaseline> CpuControl::held() const {
  return hands_ ? hands_->actuator.held() : std::vector<HeldBaseline>{};
}

std::vector<LastAction> CpuControl::last_actions(VmId vm) const {
  std::vector<LastAction> all;
  const auto known = known_.find(vm);
  if (known == known_.end()) return all;
  for (const LastAction& each : known->second.last) {
    if (each.at != Instant{}) all.push_back(each);
  }
  return all;
}

}  // namespace outrider
