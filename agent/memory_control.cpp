// SPDX-License-Identifier: Apache-2.0
#include "agent/memory_control.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "agent/log.h"
#include "agent/sys/clock.h"

namespace outrider {
namespace {

// How long the end waits for QEMUs to take the last settings.
constexpr Duration kPatience = std::chrono::seconds{1};
constexpr Duration kTurn = std::chrono::milliseconds{20};

std::int64_t to_mib(Bytes bytes) { return bytes.count() / kMebibyte.count(); }

}  // namespace

MemoryControl::MemoryControl(const Config& config, World world)
    : world_(world),
      policy_(config.policy),
      run_directory_(config.run_directory),
      controller_(config.policy) {}

void MemoryControl::start() {
  if (policy_.memory.mode == Mode::kObserve) return;
  if (world_.cgroups == nullptr) {
    cannot_ = "there is no cgroup v2 tree";
    return;
  }
  auto sensor = MemorySensor::open(world_.proc, world_.cgroups);
  if (!sensor) {
    cannot_ = sensor.error().what;
    return;
  }
  auto clients = qmp::Clients::make(world_.events);
  if (!clients) {
    cannot_ = clients.error().what;
    return;
  }
  auto book = BalloonBook::open(run_directory_, world_.proc);
  if (!book) {
    cannot_ = book.error().what;
    return;
  }
  book_.emplace(std::move(*book));
  sensor_.emplace(std::move(*sensor));
  sensor_->load_programs();
  for (const Error& missing : sensor_->missing()) {
    log_info("memory what=\"{}\" next=\"without it\"", escaped(missing.what));
  }
  clients_ = std::move(*clients);
}

void MemoryControl::came(const Vm& vm) {
  if (!sensor_) return;
  gone(vm.id);
  auto attached = sensor_->attach(vm);
  if (!attached) {
    log_info("memory vm={} what=\"{}\" next=\"its memory is not watched\"",
             one_word(vm.identity.name), escaped(attached.error().what));
    return;
  }
  Known& known = known_[vm.id];
  known.vm = vm;
  controller_.add_vm(
      {.id = vm.id, .name = vm.identity.name, .uuid = vm.identity.uuid});
  if (const HeldBalloon* held = book_->find(vm.identity)) {
    controller_.adopt(vm.id, held->baseline, held->target);
  }
  inputs_.reserve(known_.size());
  open_link(known);
}

void MemoryControl::open_link(Known& known) {
  auto link = GuestLink::make(*clients_, world_.proc, known.vm);
  if (!link) {
    known.missing = link.error().what;
    log_info("memory vm={} what=\"{}\" next=\"nothing is taken from it\"",
             one_word(known.vm.identity.name), escaped(known.missing));
    return;
  }
  known.link = std::move(*link);
  if (is_enforced(known.vm.id)) known.link->want_statistics();
}

void MemoryControl::gone(VmId vm) {
  // What the book holds of it stays: it may be here still, and come again.
  if (known_.erase(vm) == 0) return;
  controller_.remove_vm(vm);
  (void)sensor_->detach(vm);  // it was attached: known_ had it
}

bool MemoryControl::is_enforced(VmId vm) const {
  const MemoryState* state = controller_.find(vm);
  return state != nullptr && state->policy.mode == Mode::kEnforce;
}

void MemoryControl::fill_inputs(const MemorySample& sample) {
  inputs_.clear();
  for (const VmMemory& vm : sample.vms) {
    MemoryInput input;
    input.vm = vm.id;
    input.missing = vm.is_gone || !vm.current;
    if (vm.current) input.resident = *vm.current;
    if (vm.swap) input.swapped = *vm.swap;
    if (vm.stat)
      input.refaults = vm.stat->refaults_anon + vm.stat->refaults_file;
    const auto known = known_.find(vm.id);
    if (known != known_.end()) {
      input.is_migrating = known->second.is_migrating;
      input.is_resizing = known->second.is_resizing;
      if (known->second.link) {
        const GuestFacts facts = known->second.link->facts();
        input.size = facts.size;
        input.balloon = facts.balloon;
        input.fixed = facts.fixed;
        input.guest = facts.guest;
      }
    }
    inputs_.push_back(input);
  }
}

GuestLink::Pace MemoryControl::pace_of(VmId vm) const {
  const MemoryState* state = controller_.find(vm);
  if (state == nullptr) return GuestLink::Pace::kEasy;
  if (state->cooperation == Cooperation::kAsked) return GuestLink::Pace::kClose;
  const bool is_taken_from =
      state->target.count() > 0 && state->target < controller_.baseline(vm);
  return is_taken_from ? GuestLink::Pace::kWatchful : GuestLink::Pace::kEasy;
}

void MemoryControl::tick(Instant now) {
  if (!sensor_ || now < due_) return;
  due_ = now + policy_.memory.period;
  for (auto& [id, known] : known_) {
    if (known.link) known.link->refresh(now, pace_of(id));
  }
  const MemorySample& sample = sensor_->read(now);
  sample_ = &sample;
  fill_inputs(sample);
  HostMemoryInput host;
  host.missing = !sample.host.amounts;
  if (sample.host.amounts) {
    host.total = sample.host.amounts->total;
    host.available = sample.host.amounts->available;
  }
  carry_out(controller_.tick({.now = now, .host = host, .vms = inputs_}), now);
}

void MemoryControl::carry_out(std::span<const MemoryAction> plan, Instant now) {
  for (const MemoryAction& action : plan) {
    const auto known = known_.find(action.vm);
    if (known == known_.end()) continue;
    const bool is_advice = !is_enforced(action.vm);
    known->second.last = LastBalloon{
        .action = action, .at = now, .is_advice = is_advice, .refusal = {}};
    log_info("memory vm={} {}={} was={} reason={}",
             one_word(known->second.vm.identity.name),
             is_advice ? "advised_mib" : "balloon_mib", to_mib(action.value),
             to_mib(action.old), to_text(action.reason));
    if (!is_advice) set_balloon(known->second, action);
  }
}

// Before it is set: an agent that dies in between has set nothing. What is
// released is dropped from the book only when QEMU has taken it, for the same
// reason (tests/unit/core/memory_crash_test.cpp).
Result<> MemoryControl::note_held(const Known& known,
                                  const MemoryAction& action) {
  const VmIdentity& identity = known.vm.identity;
  return book_->note({.pid = identity.pid,
                      .start_ticks = identity.start_ticks,
                      .baseline = controller_.baseline(action.vm),
                      .target = action.value});
}

void MemoryControl::set_balloon(Known& known, const MemoryAction& action) {
  const VmId vm = action.vm;
  if (!known.link) return;
  auto noted = note_held(known, action);
  if (!noted) return note_refusal(vm, noted.error());
  const bool is_release = action.reason == MemoryReason::kReleased;
  auto asked = known.link->set_balloon(
      action.value, [this, vm, is_release](Result<> done) {
        --unconfirmed_;
        if (!done) return note_refusal(vm, done.error());
        if (is_release) drop_note(vm);
      });
  if (asked) {
    ++unconfirmed_;
    return;
  }
  note_refusal(vm, asked.error());
}

void MemoryControl::drop_note(VmId vm) {
  const auto known = known_.find(vm);
  if (known == known_.end()) return;
  const VmIdentity& identity = known->second.vm.identity;
  const HeldBalloon* held = book_->find(identity);
  // Since then it may have been set anew.
  if (held == nullptr || held->target != held->baseline) return;
  auto dropped = book_->forget(identity);
  if (dropped) return;
  // Then an agent to come sets it to what it is: no harm.
  log_warning("memory what=\"{}\"", escaped(dropped.error().what));
}

void MemoryControl::note_refusal(VmId vm, const Error& error) {
  controller_.refuse(vm, monotonic_now());
  const auto known = known_.find(vm);
  if (known == known_.end()) return;
  if (known->second.last) known->second.last->refusal = error.what;
  if (std::exchange(known->second.complained, true)) return;
  log_warning("memory vm={} what=\"{}\" next=\"again, later\"",
              one_word(known->second.vm.identity.name), escaped(error.what));
}

void MemoryControl::put_back(std::span<const MemoryAction> plan, Instant now) {
  for (const MemoryAction& action : plan) {
    const auto known = known_.find(action.vm);
    if (known == known_.end()) continue;
    known->second.last = LastBalloon{
        .action = action, .at = now, .is_advice = false, .refusal = {}};
    set_balloon(known->second, action);
  }
}

void MemoryControl::release_all() {
  const Instant now = monotonic_now();
  put_back(controller_.release(now), now);
  for (auto& [id, known] : known_) {
    if (known.link) known.link->restore_statistics();
  }
}

void MemoryControl::release(VmId vm) {
  const Instant now = monotonic_now();
  put_back(controller_.release(vm, now), now);
}

void MemoryControl::stop() {
  if (!sensor_) return;
  release_all();
  const Instant end = monotonic_now() + kPatience;
  while (unconfirmed_ > 0 && monotonic_now() < end) {
    auto turned = world_.events.turn(kTurn);
    if (!turned) break;
  }
  if (unconfirmed_ > 0) {
    log_warning(
        "memory what=\"{} balloons may not be as they were\" "
        "next=\"the guests keep what they have\"",
        unconfirmed_);
  }
  known_.clear();
  sample_ = nullptr;
  sensor_.reset();
}

void MemoryControl::set_mode(Mode mode) {
  if (!sensor_) return;
  if (mode != Mode::kEnforce) release_all();
  controller_.set_host_mode(mode);
  if (mode != Mode::kEnforce) return;
  for (auto& [id, known] : known_) {
    if (known.link && is_enforced(id)) known.link->want_statistics();
  }
}

void MemoryControl::set_mode(VmId vm, Mode mode) {
  if (!sensor_) return;
  if (mode != Mode::kEnforce) release(vm);
  controller_.set_mode(vm, mode);
  const auto known = known_.find(vm);
  if (known == known_.end() || !known->second.link || !is_enforced(vm)) return;
  known->second.link->want_statistics();
}

void MemoryControl::set_migrating(VmId vm, bool is_migrating) {
  const auto known = known_.find(vm);
  if (known == known_.end()) return;
  if (is_migrating) release(vm);
  known->second.is_migrating = is_migrating;
}

void MemoryControl::set_resizing(VmId vm, bool is_resizing) {
  const auto known = known_.find(vm);
  if (known == known_.end()) return;
  if (is_resizing) release(vm);
  known->second.is_resizing = is_resizing;
}

const VmMemory* MemoryControl::seen(VmId vm) const {
  if (sample_ == nullptr) return nullptr;
  for (const VmMemory& each : sample_->vms) {
    if (each.id == vm) return &each;
  }
  return nullptr;
}

const GuestLink* MemoryControl::link(VmId vm) const {
  const auto known = known_.find(vm);
  return known == known_.end() ? nullptr : known->second.link.get();
}

GuestLink* MemoryControl::link(VmId vm) {
  const auto known = known_.find(vm);
  return known == known_.end() ? nullptr : known->second.link.get();
}

std::string MemoryControl::missing_link(VmId vm) const {
  const auto known = known_.find(vm);
  return known == known_.end() ? "" : known->second.missing;
}

std::optional<LastBalloon> MemoryControl::last_balloon(VmId vm) const {
  const auto known = known_.find(vm);
  return known == known_.end() ? std::nullopt : known->second.last;
}

Result<MemoryLimits> MemoryControl::limits(VmId vm) const {
  if (!sensor_) return fail(ENOENT, "memory is not watched");
  return sensor_->limits(vm);
}

}  // namespace outrider
