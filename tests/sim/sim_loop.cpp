// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/sim_loop.h"

#include <algorithm>

#include "agent/core/journal_replay.h"
#include "agent/core/peak_forecaster.h"

namespace outrider::sim {
namespace {

using std::chrono::milliseconds;

// Each begins with the state of its moment, so that replays from there are
// tested as well.
constexpr std::int64_t kSegmentMs = 20'000;

constexpr std::int64_t kForeseeMs = 3'000;

std::string name_of(VmId vm) {
  return "VM " + std::to_string(static_cast<std::uint32_t>(vm));
}

std::string text(MilliCpus value) { return std::to_string(value.count()); }

std::string describe(const Action& action) {
  return name_of(action.vm) + " knob " +
         std::to_string(static_cast<int>(action.knob)) + " reason " +
         std::to_string(static_cast<int>(action.reason)) + " " +
         std::to_string(action.old) + " -> " + std::to_string(action.value);
}

bool is_cap(const Action& action) { return action.knob == Knob::kCpuMax; }

bool is_managed(const VmState& vm) {
  return vm.policy.mode != Mode::kObserve && !vm.contended && !vm.let_go &&
         !vm.gone;
}

}  // namespace

SimLoop::SimLoop(const Scenario& scenario)
    : host_(scenario.host),
      controller_(scenario.policy, {.cpus = scenario.host.cpus},
                  milliseconds{scenario.host.tick_ms},
                  [](std::uint32_t steps) { return make_forecaster(steps); }),
      twin_(scenario.policy, {.cpus = scenario.host.cpus},
            milliseconds{scenario.host.tick_ms},
            [](std::uint32_t steps) { return make_forecaster(steps); }) {
  begin_segment();
}

std::optional<Breach> SimLoop::run(std::int64_t ms) {
  while (host_.now_ms() < ms) {
    const auto edges = host_.step();
    const std::vector<EdgeInput> told(edges.begin(), edges.end());
    for (const EdgeInput& each : told) {
      if (auto breach = edge(each)) return breach;
    }
    if (!host_.tick_due()) continue;
    if (auto breach = tick()) return breach;
  }
  return std::nullopt;
}

std::optional<Breach> SimLoop::edge(const EdgeInput& edge) {
  in_tick_ = false;
  const auto plan = controller_.edge(edge);
  for (const Action& action : plan) {
    if (action.vm != edge.vm) return "edge touches " + describe(action);
    if (action.knob != Knob::kCpuMax && action.knob != Knob::kVcpuMax) {
      return "edge sets " + describe(action);
    }
    if (is_cap(action) && action.value <= action.old) {
      return "edge lowers " + describe(action);
    }
  }
  if (auto breach = carry_out(plan, twin_.edge(edge))) return breach;
  encoder_.edge(edge, {.actions = plan, .outcomes = outcomes_, .took = {}},
                journal_.back());
  return std::nullopt;
}

void SimLoop::begin_segment() {
  segment_due_ms_ = host_.now_ms() + kSegmentMs;
  std::vector<std::byte> state;
  controller_.save(state);
  encoder_.begin({}, state, journal_.emplace_back());
}

void SimLoop::note(const JournalRecord& call) {
  encoder_.call(call, journal_.back());
}

// As the agent's journal: a segment ends where a tick is out of all bounds.
void SimLoop::note_tick(const TickInput& input, std::span<const Action> plan) {
  if (!is_recordable(input)) return begin_segment();
  encoder_.tick(input, {.actions = plan, .outcomes = outcomes_, .took = {}},
                allocations_checksum(controller_), journal_.back());
  if (host_.now_ms() >= segment_due_ms_) begin_segment();
}

void SimLoop::come_and_go(const SimTick& tick) {
  for (const VmFacts& vm : tick.came) {
    (void)controller_.add_vm(vm);  // refused: only observed
    (void)twin_.add_vm(vm);
    note(AddCall{vm});
    watched_[vm.id] = {};
  }
  for (const VmId vm : tick.gone) {
    controller_.remove_vm(vm);
    twin_.remove_vm(vm);
    note(RemoveCall{vm});
    watched_.erase(vm);
  }
  for (const SimForeignWrite& write : tick.foreign) {
    controller_.foreign_write(write.vm, tick.input.now, write.cap);
    twin_.foreign_write(write.vm, tick.input.now, write.cap);
    note(ForeignWriteCall{write.vm, tick.input.now, write.cap});
  }
}

// Of every second VM, right or wrong: nothing breaks by it.
void SimLoop::foresee() {
  if (host_.now_ms() < foresee_due_ms_) return;
  foresee_due_ms_ = host_.now_ms() + kForeseeMs;
  const std::int64_t turn = host_.now_ms() / kForeseeMs;
  for (const auto& [id, watched] : watched_) {
    const std::int64_t number = static_cast<std::uint32_t>(id);
    if (number % 2 == 0) continue;
    const MilliCpus peak{(turn * 7919 + number * 104'729) % 6'000};
    controller_.foresee(id, peak);
    twin_.foresee(id, peak);
    note(ForeseeCall{id, peak});
  }
}

std::optional<Breach> SimLoop::tick() {
  in_tick_ = true;
  const SimTick& tick = host_.tick();
  come_and_go(tick);
  foresee();
  for (auto& [id, watched] : watched_) {
    const auto input = std::ranges::find(tick.input.vms, id, &CpuInput::vm);
    watched.missing = input == tick.input.vms.end() || input->missing;
  }
  const auto plan = controller_.tick(tick.input);
  for (std::size_t i = 0; i < controller_.vm_count(); ++i) {
    if (auto breach = check_vm(controller_.vm(i))) return breach;
  }
  if (auto breach = check_sums()) return breach;
  if (auto breach = carry_out(plan, twin_.tick(tick.input))) return breach;
  note_tick(tick.input, plan);
  return std::nullopt;
}

std::size_t SimLoop::journal_bytes() const {
  std::size_t bytes = 0;
  for (const auto& segment : journal_) bytes += segment.size();
  return bytes;
}

std::optional<Breach> SimLoop::replay() const {
  for (const auto& segment : journal_) {
    if (auto breach = replay(segment)) return breach;
  }
  return std::nullopt;
}

std::optional<Breach> SimLoop::replay(std::span<const std::byte> segment) {
  JournalReader reader(segment);
  JournalReplay replay(make_forecaster);
  while (true) {
    auto record = reader.next();
    if (!record) return "its journal: " + record.error().what;
    if (!*record) return std::nullopt;
    auto taken = replay.take(**record);
    if (!taken) return "its journal makes no sense: " + taken.error().what;
    if (!replay.difference()) continue;
    const Difference& found = *replay.difference();
    return "replay, record " + std::to_string(found.record) + ", " +
           name_of(found.vm) + ": " + found.field + " was " + found.journal +
           ", is " + found.now;
  }
}

// Floors and ceilings, missing data, loans.
std::optional<Breach> SimLoop::check_vm(const VmState& vm) const {
  const std::string who = name_of(vm.facts.id);
  if (!is_managed(vm)) return std::nullopt;
  if (vm.target < vm.policy.floor) {
    return who + ": target " + text(vm.target) + " under its floor " +
           text(vm.policy.floor);
  }
  if (vm.target > vm.policy.ceiling) {
    return who + ": target " + text(vm.target) + " above its ceiling " +
           text(vm.policy.ceiling);
  }
  if (vm.reserve < MilliCpus{} || vm.lent > vm.reserve || vm.loan > vm.target) {
    return who + ": reserve " + text(vm.reserve) + ", lent " + text(vm.lent) +
           ", loan " + text(vm.loan) + " of " + text(vm.target);
  }
  if (!vm.facts.uuid.empty() || !vm.facts.name.empty()) {
    for (std::size_t i = 0; i + 1 < kTaus; ++i) {
      if (vm.soon.peak[i] > vm.soon.peak[i + 1]) {
        return who + ": its quantiles do not rise";
      }
    }
  }
  return std::nullopt;
}

// All that is held and reserved is there, unless the floors alone are more.
std::optional<Breach> SimLoop::check_sums() const {
  MilliCpus floors;
  MilliCpus held;
  MilliCpus lent;
  MilliCpus loans;
  for (std::size_t i = 0; i < controller_.vm_count(); ++i) {
    const VmState& vm = controller_.vm(i);
    floors += vm.policy.floor;
    held += vm.target - vm.loan + vm.reserve;
    lent += vm.lent;
    loans += vm.loan;
  }
  if (lent != loans) {
    return "lent " + text(lent) + " is not what is on loan, " + text(loans);
  }
  if (floors <= controller_.capacity() && held > controller_.capacity()) {
    return "held " + text(held) + " of " + text(controller_.capacity());
  }
  return std::nullopt;
}

std::optional<Breach> SimLoop::check_plan(std::span<const Action> plan) const {
  bool has_grown = false;
  for (const Action& action : plan) {
    const VmState* vm = controller_.find(action.vm);
    if (vm == nullptr) return "a plan for nobody: " + describe(action);
    if (!is_managed(*vm)) return "left alone, but " + describe(action);
    const auto watched = watched_.find(action.vm);
    if (in_tick_ && is_cap(action) && watched->second.missing) {
      return "missing, but " + describe(action);
    }
    if (!is_cap(action)) continue;
    if (action.value < vm->policy.floor.count() ||
        action.value > vm->policy.ceiling.count()) {
      return "out of bounds: " + describe(action);
    }
    const bool shrinks = action.old < 0 || action.value < action.old;
    if (shrinks && has_grown) return "shrinks late: " + describe(action);
    has_grown = has_grown || !shrinks;
  }
  return std::nullopt;
}

// A refused write is not tried in a tight loop; one answer to a foreign one.
std::optional<Breach> SimLoop::check_writes(const Action& action,
                                            const Outcome& outcome) {
  if (!is_cap(action)) return std::nullopt;
  Watched& watched = watched_[action.vm];
  const std::int64_t now = host_.now_ms();
  if (watched.refusals >= 6 && now - watched.last_try_ms < 500) {
    return "tried again after " + std::to_string(now - watched.last_try_ms) +
           " ms: " + describe(action);
  }
  watched.last_try_ms = now;
  watched.refusals =
      outcome.kind == Outcome::Kind::kUnconfirmed ? watched.refusals + 1 : 0;
  if (action.reason != Reason::kReassert) return std::nullopt;
  if (++watched.reasserts > 1 + now / 60'000) {
    return "answered a foreign writer once more: " + describe(action);
  }
  return std::nullopt;
}

std::optional<Breach> SimLoop::carry_out(std::span<const Action> plan,
                                         std::span<const Action> same) {
  if (!std::ranges::equal(plan, same)) return "the twin decided otherwise";
  if (auto breach = check_plan(plan)) return breach;
  outcomes_.assign(plan.size(), {});
  host_.apply(plan, outcomes_);
  for (std::size_t i = 0; i < plan.size(); ++i) {
    if (auto breach = check_writes(plan[i], outcomes_[i])) return breach;
  }
  controller_.settle(plan, outcomes_);
  twin_.settle(same, outcomes_);
  // Read back: what is believed is what is there.
  for (std::size_t i = 0; i < plan.size(); ++i) {
    if (!is_cap(plan[i]) || outcomes_[i].kind != Outcome::Kind::kApplied) {
      continue;
    }
    const VmState* vm = controller_.find(plan[i].vm);
    const SimVm* truth = host_.find(plan[i].vm);
    if (vm == nullptr || truth == nullptr) continue;
    if (vm->applied.count() != truth->value(Knob::kCpuMax, 0)) {
      return name_of(plan[i].vm) + ": believes " + text(vm->applied) +
             ", there is " + std::to_string(truth->value(Knob::kCpuMax, 0));
    }
  }
  return std::nullopt;
}

}  // namespace outrider::sim
