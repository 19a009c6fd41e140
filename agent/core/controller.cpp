// SPDX-License-Identifier: Apache-2.0
#include "agent/core/controller.h"

#include <algorithm>
#include <cassert>
#include <functional>
#include <utility>

#include "agent/core/controller_inside.h"
#include "agent/core/fields_io.h"

namespace outrider {
namespace {

// A late tick counts for as many steps as it took, up to this.
constexpr std::uint64_t kStepsMax = 64;

// So many VMs ahead is asked for what is needed of them.
constexpr std::size_t kAhead = 2;

constexpr std::size_t kStartActions = 3;
constexpr std::size_t kNamesMax = 5;  // in an error's text

std::string name_of(const VmFacts& vm) {
  return vm.name.empty() ? vm.uuid : vm.name;
}

MilliCpus capacity_of(const Policy& policy, const HostFacts& host) {
  return std::max(MilliCpus{host.cpus * 1000} - policy.cpu.host_share,
                  MilliCpus{});
}

// A floor as it counts against capacity: its class's overcommit taken off.
std::int64_t counted_floor(const Policy& policy, const VmPolicy& vm) {
  const auto& vm_class = policy.classes[static_cast<std::size_t>(vm.vm_class)];
  return vm.floor.count() * 1000 / vm_class.overcommit_permille;
}

}  // namespace

MilliCpus Controller::Inside::capacity() const {
  return capacity_of(rules.policy, host);
}

std::vector<std::unique_ptr<Seat>>::iterator Controller::Inside::place_of(
    VmId vm) {
  return std::lower_bound(seats.begin(), seats.end(), vm,
                          [](const std::unique_ptr<Seat>& seat, VmId id) {
                            return seat->state.facts.id < id;
                          });
}

Seat* Controller::Inside::seat(VmId vm) {
  const auto place = place_of(vm);
  if (place == seats.end() || (*place)->state.facts.id != vm) return nullptr;
  return place->get();
}

// Forecasters live on an even clock that began with the first tick, so that a
// season's phase does not drift with the ticks' delays.
std::uint32_t Controller::Inside::steps_until(Instant at) {
  if (!started) {
    started = true;
    first_tick = at;
    steps = 1;
    return 1;
  }
  const auto half = rules.tick_period / 2;
  const auto due = static_cast<std::uint64_t>(
      (at - first_tick + half) / rules.tick_period + 1);
  const std::uint64_t count = due > steps ? due - steps : 0;
  steps = std::max(steps, due);
  return static_cast<std::uint32_t>(std::min(count, kStepsMax));
}

void Controller::Inside::sense(const TickInput& input) {
  const std::uint32_t passed = steps_until(input.now);
  auto next = input.vms.begin();
  for (std::size_t i = 0; i < seats.size(); ++i) {
    const auto& seat = seats[i];
    if (i + 2 * kAhead < seats.size()) seats[i + 2 * kAhead]->prefetch();
    if (i + kAhead < seats.size()) seats[i + kAhead]->prefetch_series(passed);
    const VmId id = seat->state.facts.id;
    while (next != input.vms.end() && next->vm < id) ++next;
    const bool is_there = next != input.vms.end() && next->vm == id;
    seat->sense(rules, is_there ? &*next : nullptr, input.interval, passed);
    seat->account(input.interval);
  }
}

void Controller::Inside::arbitrate() {
  for (std::size_t i = 0; i < seats.size(); ++i) {
    claims[i] = seats[i]->claim(rules, now);
  }
  arbiter.arbitrate(capacity(), claims, shares);
  if (give_way()) arbiter.arbitrate(capacity(), claims, shares);
}

// What is only held because lowering is slow gives way to what a VM of at least
// that weight needs and did not get: as few VMs as will do, those first that
// have most to spare. True if any claim has changed.
bool Controller::Inside::give_way() {
  MilliCpus lacking;
  std::int64_t weight_most = -1;  // of those that lack; only these count
  spare.clear();
  for (std::uint32_t i = 0; i < seats.size(); ++i) {
    const MilliCpus need = seats[i]->bare_claim().need;
    if (shares[i].allocation < need) {
      if (claims[i].weight < weight_most) continue;
      if (claims[i].weight > weight_most) lacking = {};
      weight_most = claims[i].weight;
      lacking += need - shares[i].allocation;
    } else if (claims[i].need > need) {
      spare.emplace_back(claims[i].need - need, i);
    }
  }
  if (weight_most < 0 || spare.empty()) return false;
  std::ranges::sort(spare, std::greater{});
  bool has_changed = false;
  for (const auto& [surplus, i] : spare) {
    if (lacking <= MilliCpus{}) break;
    if (claims[i].weight > weight_most) continue;
    claims[i] = seats[i]->bare_claim();
    lacking = lacking - surplus;
    has_changed = true;
  }
  return has_changed;
}

// One cap for each vCPU as well, where that is wanted: equal parts of the
// VM's, and no more than a whole CPU is ever needed by one.
void Controller::Inside::push(std::vector<Action>& actions,
                              const Action& action, const Seat& seat) const {
  actions.push_back(action);
  if (rules.policy.cpu.split != Split::kEqual) return;
  const std::int64_t vcpus = seat.state.facts.vcpus;
  const MilliCpus least = least_cap(rules.policy.cpu.cap_period);
  for (std::int64_t i = 0; i < vcpus; ++i) {
    Action part = action;
    part.knob = Knob::kVcpuMax;
    part.index = static_cast<std::uint16_t>(i);
    part.value = std::max((action.value + vcpus - 1) / vcpus, least.count());
    part.old = action.old < 0 ? -1 : (action.old + vcpus - 1) / vcpus;
    actions.push_back(part);
  }
}

void Controller::Inside::decide() {
  plan.clear();
  grown.clear();
  MilliCpus held;
  for (std::size_t i = 0; i < seats.size(); ++i) {
    Seat& seat = *seats[i];
    Action action;
    if (seat.decide(rules, now, shares[i], action)) {
      const bool shrinks = action.old < 0 || action.value < action.old;
      push(shrinks ? plan : grown, action, seat);
    }
    // What is only held because lowering is slow gives way in the next tick:
    // an edge need not wait for that.
    const MilliCpus kept =
        std::min(shares[i].allocation, seat.bare_claim().need);
    held += kept - std::min(shares[i].loan, kept) + shares[i].reserve;
    std::array<Action, kStartActions> starts;
    const std::size_t count = seat.start_actions(rules, starts);
    grown.insert(grown.end(), starts.begin(), starts.begin() + count);
  }
  free = std::max(capacity() - held, MilliCpus{});
  plan.insert(plan.end(), grown.begin(), grown.end());
}

bool Controller::Inside::ponder() {
  if (seats.empty()) ponders_left = 0;
  if (ponders_left == 0) return false;
  --ponders_left;
  Seat& seat = *seats[pondering / Seat::kSeries];
  if (seat.ponder(search, pondering % Seat::kSeries)) {
    pondering = (pondering + 1) % (seats.size() * Seat::kSeries);
  }
  return ponders_left > 0;
}

// Before what a piece works on changes: so it comes to the same whenever it is
// done.
void Controller::Inside::ponder_rest() {
  while (ponder()) {
  }
}

// As much as a tick may need, so that none allocates.
void Controller::Inside::make_room() {
  claims.resize(seats.size());
  shares.resize(seats.size());
  spare.reserve(seats.size());
  std::size_t actions = 0;
  for (const auto& seat : seats) {
    actions +=
        1 + kStartActions + static_cast<std::size_t>(seat->state.facts.vcpus);
  }
  plan.reserve(actions);
  grown.reserve(actions);
}

// Advice is answered as if it had been carried out, and whoever ends enforcing
// puts the baseline back: in either direction what is believed to be set is
// not.
void Controller::Inside::follow_mode(Seat& seat) const {
  const bool was_enforced = seat.state.policy.mode == Mode::kEnforce;
  seat.resolve(rules);
  const bool is_enforced = seat.state.policy.mode == Mode::kEnforce;
  if (is_enforced != was_enforced || !seat.is_managed()) seat.stand_back();
}

// Of those that count; the text is made only where it is needed. While the host
// is only observed, no floor is in force.
Result<> Controller::Inside::check_floors() const {
  if (rules.policy.mode == Mode::kObserve) return {};
  std::int64_t floors = 0;
  for (const auto& seat : seats) {
    if (seat->mode_asked == Mode::kObserve) continue;
    floors += counted_floor(rules.policy, seat->state.policy);
  }
  if (floors <= capacity().count()) return {};
  std::vector<VmFacts> vms;
  for (const auto& seat : seats) {
    if (seat->mode_asked != Mode::kObserve) vms.push_back(seat->state.facts);
  }
  return check(rules.policy, host, vms);
}

Controller::Controller(Policy policy, HostFacts host, Duration tick_period,
                       ForecasterFactory make_forecaster)
    : inside_(std::make_unique<Inside>()) {
  inside_->rules = {.policy = std::move(policy), .tick_period = tick_period};
  inside_->host = host;
  inside_->make_forecaster = std::move(make_forecaster);
}

Controller::~Controller() = default;

Result<> Controller::check(const Policy& policy, const HostFacts& host,
                           std::span<const VmFacts> vms) {
  std::int64_t floors = 0;
  std::vector<std::pair<MilliCpus, const VmFacts*>> largest;
  for (const VmFacts& vm : vms) {
    const VmPolicy holds = resolve(policy, vm);
    floors += counted_floor(policy, holds);
    largest.emplace_back(holds.floor, &vm);
  }
  const MilliCpus capacity = capacity_of(policy, host);
  if (floors <= capacity.count()) return {};
  std::stable_sort(
      largest.begin(), largest.end(),
      [](const auto& a, const auto& b) { return a.first > b.first; });
  std::string text = "floors of " + std::to_string(floors) +
                     " mcpu, overcommit taken off, are more than the " +
                     std::to_string(capacity.count()) + " mcpu of this host:";
  for (std::size_t i = 0; i < largest.size() && i < kNamesMax; ++i) {
    text += (i == 0 ? " " : ", ") + name_of(*largest[i].second) + " " +
            std::to_string(largest[i].first.count());
  }
  if (largest.size() > kNamesMax) {
    text += " and " + std::to_string(largest.size() - kNamesMax) + " more";
  }
  return fail(0, std::move(text));
}

Result<> Controller::change_policy(Policy policy) {
  std::vector<VmFacts> vms;
  for (const auto& seat : inside_->seats) vms.push_back(seat->state.facts);
  auto checked = check(policy, inside_->host, vms);
  if (!checked) return checked;
  inside_->ponder_rest();
  inside_->rules.policy = std::move(policy);
  for (const auto& seat : inside_->seats) seat->resolve(inside_->rules);
  return {};
}

Result<> Controller::add_vm(const VmFacts& vm) {
  Inside& in = *inside_;
  in.ponder_rest();
  const auto place = in.place_of(vm.id);
  assert(place == in.seats.end() || (*place)->state.facts.id != vm.id);
  const std::size_t first = in.first_series(place);
  if (!in.seats.empty() && in.pondering >= first) {
    in.pondering += Seat::kSeries;
  }
  Seat& seat = **in.seats.insert(
      place, std::make_unique<Seat>(vm, in.rules, in.make_forecaster));
  auto checked = in.check_floors();
  if (!checked) {
    seat.mode_asked = Mode::kObserve;
    seat.resolve(in.rules);
  }
  in.resume(seat);
  in.make_room();
  return checked;
}

void Controller::remove_vm(VmId vm) {
  Inside& in = *inside_;
  const auto place = in.place_of(vm);
  if (place == in.seats.end() || (*place)->state.facts.id != vm) return;
  in.ponder_rest();
  if (in.rules.policy.shadow.on_vm_exit == OnVmExit::kSuspend) {
    in.suspend(**place);
  }
  const std::size_t first = in.first_series(place);
  const std::size_t end = first + Seat::kSeries;
  const bool is_of_it = in.pondering >= first && in.pondering < end;
  if (is_of_it) in.search.begin_anew();
  in.pondering = is_of_it              ? first
                 : in.pondering >= end ? in.pondering - Seat::kSeries
                                       : in.pondering;
  in.seats.erase(place);
  if (in.pondering >= in.seats.size() * Seat::kSeries) in.pondering = 0;
  in.make_room();
}

std::span<const Action> Controller::tick(const TickInput& input) {
  Inside& in = *inside_;
  in.ponder_rest();
  in.now = input.now;
  in.sense(input);
  in.arbitrate();
  in.decide();
  in.ponders_left = Inside::kPonders;
  return in.plan;
}

bool Controller::ponder() { return inside_->ponder(); }

std::span<const Action> Controller::edge(const EdgeInput& input) {
  Inside& in = *inside_;
  in.now = std::max(in.now, input.at);
  in.plan.clear();
  Seat* seat = in.seat(input.vm);
  Action action;
  if (seat == nullptr) return in.plan;
  const MilliCpus before = seat->state.reserve;
  if (!seat->hand_over(in.rules, input, in.free, action)) return in.plan;
  const MilliCpus from_reserve = before - seat->state.reserve;
  const MilliCpus more{action.value - action.old};
  in.free = std::max(in.free - (more - from_reserve), MilliCpus{});
  in.push(in.plan, action, *seat);
  return in.plan;
}

void Controller::settle(std::span<const Action> plan,
                        std::span<const Outcome> outcomes) {
  assert(plan.size() == outcomes.size());
  for (std::size_t i = 0; i < plan.size(); ++i) {
    Seat* seat = inside_->seat(plan[i].vm);
    if (seat == nullptr) continue;
    seat->settle(inside_->rules, inside_->now, plan[i], outcomes[i]);
  }
}

void Controller::resize(VmId vm, std::int64_t vcpus) {
  Seat* seat = inside_->seat(vm);
  if (seat == nullptr || seat->state.facts.vcpus == vcpus) return;
  seat->state.facts.vcpus = vcpus;
  seat->resolve(inside_->rules);
  inside_->make_room();
}

void Controller::adopt(VmId vm, MilliCpus cap) {
  Seat* seat = inside_->seat(vm);
  if (seat == nullptr) return;
  seat->stand_back();
  seat->state.applied = cap;
}

void Controller::foreign_write(VmId vm, Instant now, MilliCpus cap) {
  if (Seat* seat = inside_->seat(vm)) seat->foreign_write(now, cap);
}

void Controller::release_contention(VmId vm) {
  if (Seat* seat = inside_->seat(vm)) seat->forget_writers();
}

void Controller::let_go(VmId vm) {
  Seat* seat = inside_->seat(vm);
  if (seat == nullptr) return;
  seat->state.let_go = true;
  seat->stand_back();
}

void Controller::take_up(VmId vm) {
  if (Seat* seat = inside_->seat(vm)) seat->state.let_go = false;
}

void Controller::foresee(VmId vm, MilliCpus peak) {
  if (Seat* seat = inside_->seat(vm)) {
    seat->state.foreseen =
        std::clamp(peak, MilliCpus{}, MilliCpus{kMilliCpusMax});
  }
}

void Controller::set_mode(VmId vm, Mode mode) {
  Seat* seat = inside_->seat(vm);
  if (seat == nullptr) return;
  seat->mode_asked = mode;
  inside_->follow_mode(*seat);
}

void Controller::set_host_mode(Mode mode) {
  inside_->rules.policy.mode = mode;
  for (const auto& seat : inside_->seats) inside_->follow_mode(*seat);
}

std::size_t Controller::vm_count() const { return inside_->seats.size(); }

const VmState& Controller::vm(std::size_t i) const {
  return inside_->seats[i]->state;
}

const VmState* Controller::find(VmId vm) const {
  const Seat* seat = inside_->seat(vm);
  return seat == nullptr ? nullptr : &seat->state;
}

ForecastScore Controller::forecast_score(VmId vm, Series series) const {
  const Seat* seat = inside_->seat(vm);
  if (seat == nullptr) return {};
  return seat->series(static_cast<std::size_t>(series)).score();
}

MilliCpus Controller::capacity() const { return inside_->capacity(); }

const Policy& Controller::policy() const { return inside_->rules.policy; }

Duration Controller::tick_period() const { return inside_->rules.tick_period; }

}  // namespace outrider
