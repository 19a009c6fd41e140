// SPDX-License-Identifier: Apache-2.0
// Hands that touch nothing: mode advise, and --dry-run.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "agent/core/plan.h"

namespace outrider {

/// Says of every Action that it was done, and hands those that would have
/// changed something to `sink`.
class DryRunActuator : public Actuator {
 public:
  using Sink = std::function<void(const Action&)>;
  explicit DryRunActuator(Sink sink) : sink_(std::move(sink)) {}

  void apply(std::span<const Action> plan,
             std::span<Outcome> outcomes) override;

 private:
  Sink sink_;
};

/// "web: would set cpu.max from 400 to 600 milli-CPU: forecast". `vm`: its
/// name.
std::string would_set(const Action& action, std::string_view vm);

}  // namespace outrider
