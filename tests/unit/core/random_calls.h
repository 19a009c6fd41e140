// SPDX-License-Identifier: Apache-2.0
// A host of random demand: makes random calls on a Controller, and journals
// them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "agent/core/controller.h"
#include "agent/core/journal_record.h"

namespace outrider {

inline constexpr Duration kRandomTick = std::chrono::milliseconds{20};

class RandomCalls {
 public:
  explicit RandomCalls(std::uint64_t seed) : random_(seed) {}

  Instant now() const { return now_; }
  std::int64_t below(std::int64_t n) {
    return static_cast<std::int64_t>(random_() % static_cast<unsigned>(n));
  }
  bool one_in(std::int64_t n) { return below(n) == 0; }

  Policy policy() {
    Policy policy;
    policy.mode = one_in(8) ? Mode::kAdvise : Mode::kEnforce;
    policy.cpu.split = one_in(4) ? Split::kEqual : Split::kPooled;
    policy.cpu.lower_step_permille = one_in(2) ? 1000 : 300;
    policy.shadow.scaling = static_cast<ScalingPolicy>(below(4));
    policy.shadow.forecast = !one_in(8);
    policy.shadow.on_vm_exit =
        one_in(4) ? OnVmExit::kTerminate : OnVmExit::kSuspend;
    policy.default_class = static_cast<VmClass>(below(4));
    policy.vms = {{.match = "vm-1*", .vm_class = VmClass::kCritical},
                  {.match = "vm-?", .floor = MilliCpus{below(200)}}};
    return policy;
  }

  /// One random call, or a tick if it is due.
  void call(Controller& controller, JournalEncoder& journal,
            std::vector<std::byte>& out) {
    if (inputs_.empty() || one_in(400)) return add(controller, journal, out);
    const std::int64_t which = below(100);
    if (which < 90) return tick(controller, journal, out);
    if (which < 95) return edge(controller, journal, out);
    rare(controller, journal, out);
  }

  void add(Controller& controller, JournalEncoder& journal,
           std::vector<std::byte>& out) {
    const auto id = VmId{++last_id_};
    // UUIDs come back.
    const VmFacts facts{.id = id,
                        .name = "vm-" + std::to_string(last_id_),
                        .uuid = one_in(8) ? "" : std::to_string(below(16)),
                        .vcpus = 1 + below(4),
                        .baseline_cap = one_in(2) ? kNoCap : MilliCpus{1500},
                        .has_cap = !one_in(16)};
    (void)controller.add_vm(facts);
    journal.call(AddCall{facts}, out);
    inputs_.push_back({.vm = id});
  }

  void tick(Controller& controller, JournalEncoder& journal,
            std::vector<std::byte>& out) {
    const Duration late =
        one_in(50) ? kRandomTick * (1 + below(10)) : Duration{below(90'000)};
    now_ += kRandomTick + late;
    for (CpuInput& input : inputs_) walk(input);
    const TickInput input{.now = now_,
                          .interval = kRandomTick + late,
                          .vms = one_in(40) ? some() : inputs_};
    const auto actions = controller.tick(input);
    const std::vector<Action> plan(actions.begin(), actions.end());
    const auto outcomes = carry_out(plan);
    const bool is_settled = !one_in(30);
    if (is_settled) controller.settle(plan, outcomes);
    Decision decision{.actions = plan,
                      .outcomes = {},
                      .took = {.sense = Duration{below(90'000)},
                               .decide = Duration{below(90'000)},
                               .act = Duration{below(900'000)}}};
    if (is_settled) decision.outcomes = outcomes;
    journal.tick(input, decision, allocations_checksum(controller), out);
    // As far as there is time; who replays has another time.
    for (std::int64_t left = below(6); left > 0; --left) controller.ponder();
  }

  std::size_t vm_count() const { return inputs_.size(); }

 private:
  VmId some_vm() {
    return inputs_[static_cast<std::size_t>(
                       below(static_cast<std::int64_t>(inputs_.size())))]
        .vm;
  }

  // Idle, or somewhere between; a burst at times.
  void walk(CpuInput& input) {
    if (one_in(3)) return;
    const auto step = [this](std::int32_t& figure, std::int64_t most) {
      figure = static_cast<std::int32_t>(
          std::clamp<std::int64_t>(figure + below(201) - 100, 0, most));
    };
    step(input.demand[0], 4000);
    if (one_in(30)) input.demand[0] = one_in(2) ? 0 : 3500;
    if (one_in(2)) step(input.demand[1], 300);
    if (one_in(9)) step(input.demand[3], 300);
    input.usage = input.demand[0] + input.demand[1] + input.demand[2] +
                  input.demand[3] - input.open_wait;
    if (one_in(5)) step(input.wait, 1000);
    if (one_in(9)) step(input.open_wait, 1000);
    if (one_in(9)) step(input.overcounted, 200);
    if (one_in(20)) step(input.throttled, 900);
    input.upper_bound = input.open_wait > 20;
    input.missing = one_in(100);
  }

  std::span<const CpuInput> some() {
    some_ = inputs_;
    some_.erase(some_.begin() + below(static_cast<std::int64_t>(some_.size())));
    return some_;
  }

  std::vector<Outcome> carry_out(std::span<const Action> plan) {
    std::vector<Outcome> outcomes;
    for (const Action& action : plan) {
      Outcome outcome{.kind = Outcome::Kind::kApplied, .value = action.value};
      if (one_in(20)) outcome = {.error = static_cast<int>(below(100))};
      if (one_in(200)) {
        outcome = {.kind = Outcome::Kind::kForeign, .value = below(3000)};
      }
      if (one_in(2000)) outcome.kind = Outcome::Kind::kGone;
      outcomes.push_back(outcome);
    }
    return outcomes;
  }

  void edge(Controller& controller, JournalEncoder& journal,
            std::vector<std::byte>& out) {
    const EdgeInput edge{.at = now_ + Duration{below(19'000'000)},
                         .vm = one_in(9) ? VmId{99'999} : some_vm(),
                         .kind = static_cast<EdgeInput::Kind>(below(2)),
                         .value = Duration{below(3'000'000)}};
    const auto actions = controller.edge(edge);
    const std::vector<Action> plan(actions.begin(), actions.end());
    const auto outcomes = carry_out(plan);
    controller.settle(plan, outcomes);
    journal.edge(edge, {.actions = plan, .outcomes = outcomes, .took = {}},
                 out);
  }

  void rare(Controller& controller, JournalEncoder& journal,
            std::vector<std::byte>& out) {
    const VmId vm = some_vm();
    const auto mode = static_cast<Mode>(below(3));
    switch (below(40)) {
      case 0: {
        controller.remove_vm(vm);
        std::erase_if(inputs_,
                      [vm](const CpuInput& input) { return input.vm == vm; });
        return journal.call(RemoveCall{vm}, out);
      }
      case 1:
        controller.resize(vm, 3);
        return journal.call(ResizeCall{vm, 3}, out);
      case 2:
        controller.adopt(vm, MilliCpus{900});
        return journal.call(AdoptCall{vm, MilliCpus{900}}, out);
      case 3:
        controller.foreign_write(vm, now_, MilliCpus{700});
        return journal.call(ForeignWriteCall{vm, now_, MilliCpus{700}}, out);
      case 4:
        controller.release_contention(vm);
        return journal.call(ReleaseCall{vm}, out);
      case 5:
        controller.let_go(vm);
        return journal.call(LetGoCall{vm}, out);
      case 6:
        controller.take_up(vm);
        return journal.call(TakeUpCall{vm}, out);
      case 7:
        controller.set_mode(vm, mode);
        return journal.call(ModeCall{vm, mode}, out);
      case 8:
        controller.set_host_mode(std::max(mode, Mode::kAdvise));
        return journal.call(HostModeCall{std::max(mode, Mode::kAdvise)}, out);
      case 9: {
        const PolicyCall call{policy(), "tick_period_ms: 20\n"};
        (void)controller.change_policy(call.policy);
        return journal.call(call, out);
      }
      case 10: {  // it is in another cgroup now
        controller.remove_vm(vm);
        journal.call(RemoveCall{vm}, out);
        const VmFacts facts{.id = vm, .name = "moved", .vcpus = 2};
        (void)controller.add_vm(facts);
        return journal.call(AddCall{facts}, out);
      }
      case 11: {  // it came here from somewhere else
        std::vector<std::byte> learned;
        if (!controller.give_learned(vm, learned)) return;
        const LearnedCall call{"uuid", std::move(learned)};
        (void)controller.take_learned(call.uuid, call.bytes);
        return journal.call(call, out);
      }
      case 12: {
        const ForeseeCall call{vm, MilliCpus{below(5000)}};
        controller.foresee(call.vm, call.peak);
        return journal.call(call, out);
      }
      default:
        return;
    }
  }

  std::mt19937_64 random_;
  Instant now_{std::chrono::seconds{1000}};
  std::uint32_t last_id_ = 0;
  std::vector<CpuInput> inputs_;
  std::vector<CpuInput> some_;
};

}  // namespace outrider
