// SPDX-License-Identifier: Apache-2.0
// A Controller without a world: what it is shown, what is foretold to it and
// what comes of its Plans is the test's to say.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "agent/core/controller.h"

namespace outrider {

inline constexpr Duration kTick = std::chrono::milliseconds{20};

/// Foretells what the test says, whatever it is shown.
class Oracle : public Forecaster {
 public:
  explicit Oracle(const Forecast* tells) : tells_(tells) {}
  void observe(Observation) override {}
  const Forecast& forecast() const override { return *tells_; }
  bool ponder(SeasonSearch&, LikelyPeriod) override { return true; }
  std::size_t state_bytes() const override { return 0; }
  void save(std::span<std::byte>) const override {}
  bool load(std::span<const std::byte>) override { return true; }

 private:
  const Forecast* tells_;
};

inline Forecast flat(std::int64_t mcpu) {
  Forecast forecast;
  forecast.peak.fill(MilliCpus{mcpu});
  return forecast;
}

/// A Controller whose Plans are all carried out, and its clock.
class Bench {
 public:
  explicit Bench(Policy policy, std::int64_t cpus = 4)
      : controller_(std::move(policy), {.cpus = cpus}, kTick,
                    [this](std::uint32_t) {
                      return std::make_unique<Oracle>(&foretold);
                    }) {}

  /// The same with forecasters that learn.
  Bench(Policy policy, ForecasterFactory make_forecaster)
      : controller_(std::move(policy), {.cpus = 4}, kTick,
                    std::move(make_forecaster)) {}

  Controller& controller() { return controller_; }
  const VmState& state(std::uint32_t id) { return *controller_.find(VmId{id}); }
  Instant now() const { return now_; }

  void add(std::uint32_t id, std::string name, std::int64_t vcpus = 1,
           MilliCpus baseline = kNoCap, std::string uuid = {}) {
    (void)controller_.add_vm({.id = VmId{id},
                              .name = std::move(name),
                              .uuid = std::move(uuid),
                              .vcpus = vcpus,
                              .baseline_cap = baseline});
    inputs_.push_back({.vm = VmId{id}});
  }
  void demand(std::uint32_t id, std::int32_t mcpu) {
    for (CpuInput& input : inputs_) {
      if (input.vm == VmId{id}) input.demand[0] = input.usage = mcpu;
    }
  }
  void emulator(std::uint32_t id, std::int32_t mcpu) {
    for (CpuInput& input : inputs_) {
      if (input.vm == VmId{id}) input.demand[1] = mcpu;
    }
  }
  void miss(std::uint32_t id, bool missing) {
    for (CpuInput& input : inputs_) {
      if (input.vm == VmId{id}) input.missing = missing;
    }
  }

  std::vector<Action> tick() {
    now_ += kTick;
    return apply(
        controller_.tick({.now = now_, .interval = kTick, .vms = inputs_}));
  }
  std::vector<Action> run(Duration span) {
    std::vector<Action> all;
    for (Duration at{}; at < span; at += kTick) {
      for (const Action& action : tick()) all.push_back(action);
    }
    return all;
  }
  std::vector<Action> edge(std::uint32_t id) {
    return apply(controller_.edge({.at = now_, .vm = VmId{id}}));
  }
  std::int64_t cap(std::uint32_t id) { return state(id).applied.count(); }

  Forecast foretold = flat(0);
  Outcome::Kind answer = Outcome::Kind::kApplied;
  std::optional<Knob> refused{};  // this knob is, whatever `answer` says

 private:
  std::vector<Action> apply(std::span<const Action> plan) {
    const std::vector<Action> actions(plan.begin(), plan.end());
    std::vector<Outcome> outcomes;
    for (const Action& action : actions) {
      const Outcome::Kind kind =
          refused == action.knob ? Outcome::Kind::kUnconfirmed : answer;
      outcomes.push_back({.kind = kind, .error = 0, .value = action.value});
    }
    controller_.settle(actions, outcomes);
    return actions;
  }

  Controller controller_;
  std::vector<CpuInput> inputs_;
  Instant now_{std::chrono::seconds{1000}};
};

inline Policy enforcing() {
  Policy policy;
  policy.mode = Mode::kEnforce;
  policy.cpu.weights = false;
  return policy;
}

}  // namespace outrider
