// SPDX-License-Identifier: Apache-2.0
#include "agent/dry_run_actuator.h"

#include <fmt/core.h>

#include <cassert>

#include "agent/knob_value.h"

namespace outrider {
namespace {

bool is_cap(Knob knob) {
  return knob == Knob::kCpuMax || knob == Knob::kVcpuMax;
}

std::string_view unit_of(Knob knob) {
  if (is_cap(knob)) return " milli-CPU";
  return knob == Knob::kCpuMaxBurst ? " us" : "";
}

std::string value_text(Knob knob, std::int64_t value) {
  if (is_cap(knob) && value < 0) return "max";
  return std::to_string(value);
}

}  // namespace

void DryRunActuator::apply(std::span<const Action> plan,
                           std::span<Outcome> outcomes) {
  assert(plan.size() == outcomes.size());
  for (std::size_t i = 0; i < plan.size(); ++i) {
    if (plan[i].value != plan[i].old) sink_(plan[i]);
    outcomes[i] = {Outcome::Kind::kApplied, 0, plan[i].value};
  }
}

std::string would_set(const Action& action, std::string_view vm) {
  std::string knob{to_text(action.knob)};
  if (action.knob == Knob::kVcpuMax) {
    knob = fmt::format("vcpu{} {}", action.index, knob);
  }
  return fmt::format("{}: would set {} from {} to {}{}: {}", vm, knob,
                     value_text(action.knob, action.old),
                     value_text(action.knob, action.value),
                     unit_of(action.knob), to_text(action.reason));
}

}  // namespace outrider
