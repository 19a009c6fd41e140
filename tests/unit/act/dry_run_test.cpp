// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <vector>

#include "agent/dry_run_actuator.h"

namespace outrider {
namespace {

TEST(DryRun, SaysThatAllIsDoneAndHandsOverWhatWouldChange) {
  std::vector<Action> seen;
  DryRunActuator hands{[&](const Action& action) { seen.push_back(action); }};
  const std::vector<Action> plan{
      {.vm = VmId{1}, .reason = Reason::kForecast, .value = 600, .old = 400},
      {.vm = VmId{2}, .value = 300, .old = 300},
      {.vm = VmId{2}, .knob = Knob::kCpuMaxBurst, .value = 5000}};
  std::vector<Outcome> outcomes(plan.size());
  hands.apply(plan, outcomes);
  EXPECT_EQ(seen, (std::vector<Action>{plan[0], plan[2]}));
  for (std::size_t i = 0; i < plan.size(); ++i) {
    EXPECT_EQ(outcomes[i],
              (Outcome{Outcome::Kind::kApplied, 0, plan[i].value}));
  }
}

TEST(DryRun, NamesKnobOldNewAndReason) {
  EXPECT_EQ(
      would_set({.reason = Reason::kForecast, .value = 600, .old = 400}, "web"),
      "web: would set cpu.max from 400 to 600 milli-CPU: forecast");
  EXPECT_EQ(would_set({.knob = Knob::kVcpuMax,
                       .index = 3,
                       .reason = Reason::kShortage,
                       .value = 600,
                       .old = -1},
                      "web"),
            "web: would set vcpu3 cpu.max from max to 600 milli-CPU: shortage");
  EXPECT_EQ(would_set({.knob = Knob::kCpuMaxBurst, .value = 5000}, "web"),
            "web: would set cpu.max.burst from 0 to 5000 us: start");
}

}  // namespace
}  // namespace outrider
