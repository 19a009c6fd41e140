// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/sim_host.h"

#include <algorithm>
#include <cassert>
#include <chrono>
#include <utility>

namespace outrider::sim {
namespace {

using std::chrono::milliseconds;

constexpr std::int64_t kUsPerMs = 1000;
constexpr std::int64_t kLeastCap = 10;  // 1 ms of 100 ms
constexpr std::int64_t kLatePeriods = 3;
constexpr std::int64_t kRoundedMax = 9;  // milli-CPU

}  // namespace

SimHost::SimHost(SimConfig config)
    : config_(std::move(config)),
      random_(config_.seed),
      figures_(config_.vms.size()),
      next_tick_ms_(config_.tick_ms) {
  // apply() allocates nothing.
  ended_.reserve(config_.vms.size());
  gone_.reserve(2 * config_.vms.size());
  for (std::size_t i = 0; i < config_.vms.size(); ++i) start(i);
}

Instant SimHost::now() const {
  return Instant{std::chrono::seconds{1} + milliseconds{now_ms_}};
}

const SimVm* SimHost::find(VmId vm) const {
  const auto at = std::ranges::lower_bound(vms_, vm, {}, &SimVm::id);
  return at != vms_.end() && at->id() == vm ? &*at : nullptr;
}

void SimHost::start(std::size_t spec_index) {
  const SimVmSpec& spec = config_.vms[spec_index];
  const VmId id{++last_id_};
  // Of which VM it is and when it came, not of what else went on.
  const std::uint64_t seed = SimRandom(config_.seed ^ ((spec_index + 1) << 32) ^
                                       static_cast<std::uint64_t>(now_ms_))
                                 .next();
  vms_.emplace_back(id, spec_index, spec, seed);
  came_.push_back({.id = id,
                   .name = spec.name,
                   .uuid = spec.uuid,
                   .vcpus = spec.vcpus,
                   .baseline_cap = spec.cap});
}

void SimHost::end(std::size_t index) {
  const SimVm& vm = vms_[index];
  SimFigures& figures = figures_[vm.spec_index()];
  figures.dropped_us += vm.backlog_us();
  figures.backlog_us = 0;
  ended_.push_back(vm.spec_index());
  const auto unknown = std::ranges::find(came_, vm.id(), &VmFacts::id);
  if (unknown != came_.end()) {
    came_.erase(unknown);  // it went before anybody was told of it
  } else {
    gone_.push_back(vm.id());
  }
  vms_.erase(vms_.begin() + static_cast<std::ptrdiff_t>(index));
}

std::span<const EdgeInput> SimHost::step() {
  wanted_us_.resize(vms_.size());
  granted_us_.resize(vms_.size());
  for (std::size_t i = 0; i < vms_.size(); ++i) {
    wanted_us_[i] = vms_[i].arrive(now_ms_, figures_[vms_[i].spec_index()]);
  }
  share_by_weight(config_.cpus * kUsPerMs, vms_, wanted_us_, granted_us_);
  ++now_ms_;
  edges_.clear();
  for (std::size_t i = 0; i < vms_.size(); ++i) {
    SimVm& vm = vms_[i];
    vm.serve(granted_us_[i], figures_[vm.spec_index()]);
    if (const auto left = vm.edge(now_ms_)) {
      edges_.push_back({.at = now(),
                        .vm = vm.id(),
                        .kind = EdgeInput::Kind::kQuota,
                        .value = *left});
    }
  }
  return edges_;
}

const SimTick& SimHost::tick() {
  const std::int64_t interval_ms = now_ms_ - last_tick_ms_;
  assert(interval_ms > 0);
  churn();
  tick_.came = std::exchange(came_, {});
  tick_.gone.assign(gone_.begin(), gone_.end());
  gone_.clear();
  write_as_somebody_else();
  read_inputs(interval_ms);
  tick_.input = {
      .now = now(), .interval = milliseconds{interval_ms}, .vms = inputs_};
  last_tick_ms_ = now_ms_;
  next_tick_ms_ = now_ms_ + config_.tick_ms;
  if (random_.hits(config_.faults.late)) {
    next_tick_ms_ += config_.tick_ms * (1 + random_.below(kLatePeriods));
  }
  return tick_;
}

void SimHost::churn() {
  const bool leaves = random_.hits(config_.faults.leave);
  const bool enters = random_.hits(config_.faults.enter);
  if (leaves && !vms_.empty()) {
    end(static_cast<std::size_t>(
        random_.below(static_cast<std::int64_t>(vms_.size()))));
  }
  if (enters && !ended_.empty()) {
    const std::size_t spec_index = ended_.front();
    ended_.erase(ended_.begin());
    start(spec_index);
  }
}

void SimHost::write_as_somebody_else() {
  tick_.foreign.clear();
  for (SimVm& vm : vms_) {
    if (vm.foreign) {
      // Written since the last tick; seen by now.
      tick_.foreign.push_back({.vm = vm.id(), .cap = vm.bandwidth().cap()});
      vm.foreign = false;
    }
    if (!random_.hits(config_.faults.foreign)) continue;
    const std::int64_t cap = kLeastCap + random_.below(1000 * vm.vcpus());
    vm.foreign = vm.write(Knob::kCpuMax, 0, cap) == 0;
  }
}

void SimHost::read_inputs(std::int64_t interval_ms) {
  inputs_.clear();
  const SimFaults& faults = config_.faults;
  for (SimVm& vm : vms_) {
    CpuInput input = vm.read(interval_ms);
    const bool is_new = std::ranges::find(tick_.came, vm.id(), &VmFacts::id) !=
                        tick_.came.end();
    const bool stale = random_.hits(faults.stale);
    const bool absent = random_.hits(faults.absent);
    const bool reset = random_.hits(faults.reset);
    if (is_new || absent) continue;
    if (stale && vm.last_input.vm == vm.id()) input = vm.last_input;
    if (reset) input = CpuInput{.vm = vm.id(), .missing = true};
    vm.last_input = input;
    inputs_.push_back(input);
  }
}

void SimHost::apply(std::span<const Action> plan, std::span<Outcome> outcomes) {
  assert(plan.size() == outcomes.size());
  for (std::size_t i = 0; i < plan.size(); ++i) outcomes[i] = apply(plan[i]);
}

Outcome SimHost::apply(const Action& action) {
  const auto at = std::ranges::lower_bound(vms_, action.vm, {}, &SimVm::id);
  if (at == vms_.end() || at->id() != action.vm) {
    return {.kind = Outcome::Kind::kGone, .error = ENOENT};
  }
  if (random_.hits(config_.faults.gone)) {
    end(static_cast<std::size_t>(at - vms_.begin()));
    return {.kind = Outcome::Kind::kGone, .error = ENOENT};
  }
  return write(*at, action);
}

Outcome SimHost::write(SimVm& vm, const Action& action) {
  const auto outcome = [&vm, &action](Outcome::Kind kind, int error) {
    return Outcome{.kind = kind,
                   .error = error,
                   .value = vm.value(action.knob, action.index)};
  };
  if (action.knob == Knob::kCpuMax && vm.foreign) {
    vm.foreign = false;  // it is told now
    return outcome(Outcome::Kind::kForeign, 0);
  }
  const SimFaults& faults = config_.faults;
  if (random_.hits(faults.busy)) {
    return outcome(Outcome::Kind::kUnconfirmed, EBUSY);
  }
  if (random_.hits(faults.refused)) {
    return outcome(Outcome::Kind::kUnconfirmed, EINVAL);
  }
  std::int64_t value = action.value;
  const bool is_cap =
      action.knob == Knob::kCpuMax || action.knob == Knob::kVcpuMax;
  if (is_cap && value >= kLeastCap && random_.hits(faults.rounded)) {
    value = std::max(kLeastCap, value - 1 - random_.below(kRoundedMax));
  }
  const int error = vm.write(action.knob, action.index, value);
  if (error != 0) return outcome(Outcome::Kind::kUnconfirmed, error);
  ++figures_[vm.spec_index()].writes;
  return outcome(Outcome::Kind::kApplied, 0);
}

void share_by_weight(std::int64_t capacity, std::span<const SimVm> vms,
                     std::span<const std::int64_t> wanted,
                     std::span<std::int64_t> granted) {
  std::ranges::copy(wanted, granted.begin());
  std::int64_t sum = 0;
  for (const std::int64_t one : wanted) sum += one;
  if (sum <= capacity) return;

  constexpr std::int64_t kOpen = -1;
  std::ranges::fill(granted, kOpen);
  std::int64_t left = capacity;
  std::int64_t weights = 0;
  for (const SimVm& vm : vms) weights += vm.weight();
  for (bool again = true; again;) {
    again = false;
    for (std::size_t i = 0; i < vms.size(); ++i) {
      const std::int64_t weight = vms[i].weight();
      if (granted[i] != kOpen || wanted[i] * weights > left * weight) continue;
      granted[i] = wanted[i];
      left -= wanted[i];
      weights -= weight;
      again = true;
    }
  }
  for (std::size_t i = 0; i < vms.size(); ++i) {
    if (granted[i] != kOpen) continue;
    // Of what the ones before left: the parts sum to the whole.
    assert(weights > 0);
    granted[i] = std::min(wanted[i], left * vms[i].weight() / weights);
    left -= granted[i];
    weights -= vms[i].weight();
  }
}

}  // namespace outrider::sim
