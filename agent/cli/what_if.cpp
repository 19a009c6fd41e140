// SPDX-License-Identifier: Apache-2.0
#include "agent/cli/what_if.h"

#include <algorithm>
#include <variant>
#include <vector>

#include "agent/core/journal_replay.h"
#include "agent/core/peak_forecaster.h"

namespace outrider {
namespace {

std::string name_of(const VmFacts& vm) {
  if (!vm.name.empty()) return vm.name;
  return "vm-" + std::to_string(std::uint32_t(vm.id));
}

std::int64_t demand_of(const CpuInput& input) {
  std::int64_t sum = -std::int64_t{input.overcounted};
  for (const std::int32_t demand : input.demand) sum += demand;
  return std::max<std::int64_t>(sum, 0);
}

MilliCpus held_by(const VmState& vm) {
  const MilliCpus cap = vm.applied == kNoCap
                            ? vm.policy.ceiling
                            : std::min(vm.applied, vm.policy.ceiling);
  return cap + vm.reserve - vm.lent;
}

}  // namespace

void PolicyTally::begin(const Controller& controller) {
  writes_.clear();
  for (std::size_t i = 0; i < controller.vm_count(); ++i) {
    const VmState& vm = controller.vm(i);
    writes_[vm.facts.id] = vm.stats.writes;
  }
}

void PolicyTally::add_writes(const Controller& controller) {
  for (std::size_t i = 0; i < controller.vm_count(); ++i) {
    const VmState& vm = controller.vm(i);
    std::uint64_t& before = writes_[vm.facts.id];
    vms_[name_of(vm.facts)].writes += vm.stats.writes - before;
    before = vm.stats.writes;
  }
}

void PolicyTally::add(const Controller& controller, const TickCall& tick) {
  const std::int64_t us = tick.interval / std::chrono::microseconds{1};
  for (const CpuInput& input : tick.vms) {
    const VmState* vm = controller.find(input.vm);
    if (vm == nullptr) continue;
    Tally& tally = vms_[name_of(vm->facts)];
    tally.held += held_by(*vm).count() * us;
    if (vm->applied == kNoCap || input.missing) continue;
    const std::int64_t above = demand_of(input) - vm->applied.count();
    tally.stall += std::max<std::int64_t>(above, 0) * us;
  }
  add_writes(controller);
}

void PolicyTally::end(const Controller& controller) { add_writes(controller); }

WhatIf::WhatIf()
    : controller_(Policy{}, HostFacts{}, std::chrono::milliseconds{20},
                  make_forecaster) {}

Result<std::unique_ptr<WhatIf>> WhatIf::make(const Controller& recorded,
                                             const Policy& policy) {
  std::vector<std::byte> state;
  recorded.save(state);
  std::unique_ptr<WhatIf> made(new WhatIf);
  auto loaded = made->controller_.load(state);
  if (!loaded) return tl::unexpected<Error>(std::move(loaded.error()));
  auto changed = made->controller_.change_policy(policy);
  if (!changed) return tl::unexpected<Error>(std::move(changed.error()));
  return made;
}

void WhatIf::settle(std::span<const Action> actions) {
  const std::vector<Action> plan(actions.begin(), actions.end());
  std::vector<Outcome> outcomes;
  for (const Action& action : plan) {
    outcomes.push_back(
        {.kind = Outcome::Kind::kApplied, .value = action.value});
  }
  controller_.settle(plan, outcomes);
}

Result<> WhatIf::take(const JournalRecord& record) {
  if (const auto* const* tick = std::get_if<const TickCall*>(&record)) {
    settle(controller_.tick({.now = (*tick)->now,
                             .interval = (*tick)->interval,
                             .vms = (*tick)->vms}));
    return {};
  }
  if (const auto* const* edge = std::get_if<const EdgeCall*>(&record)) {
    settle(controller_.edge((*edge)->edge));
    return {};
  }
  if (std::holds_alternative<PolicyCall>(record) ||
      std::holds_alternative<HostModeCall>(record)) {
    return {};
  }
  return repeat_call(record, controller_);
}

}  // namespace outrider
