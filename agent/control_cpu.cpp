// SPDX-License-Identifier: Apache-2.0
#include "agent/control_cpu.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <utility>

#include "agent/config_policy.h"
#include "agent/control_explain.h"
#include "agent/control_sample.h"
#include "agent/control_vm.h"
#include "agent/cpu_control.h"
#include "agent/dry_run_actuator.h"
#include "agent/hex.h"
#include "agent/identity.h"
#include "agent/knob_value.h"
#include "agent/state_json.h"

namespace outrider {
namespace {

constexpr std::size_t kP50 = 0;
constexpr std::size_t kP95 = 2;
constexpr std::size_t kP99 = 3;
static_assert(kTausPermille[kP50] == 500 && kTausPermille[kP95] == 950 &&
              kTausPermille[kP99] == 990);

tl::unexpected<ControlRefusal> refusal(Error error) {
  return refusal(ControlCode::kError, std::move(error.what));
}

std::optional<Mode> mode_of(const ControlCall& call) {
  const auto word = call.request.text("mode");
  if (!word) return std::nullopt;
  const auto found = std::ranges::find(kModeNames, *word);
  if (found == kModeNames.end()) return std::nullopt;
  return static_cast<Mode>(found - kModeNames.begin());
}

tl::unexpected<ControlRefusal> no_such_mode() {
  return refusal(ControlCode::kUsage, "mode: want observe, advise or enforce");
}

// What a VM's knobs would get if its mode in force became `mode` now.
void write_change(const VmState& vm, Mode mode, JsonText& reply) {
  const bool is_in_charge = vm.in_charge && vm.policy.mode == Mode::kEnforce;
  if (is_in_charge == (mode == Mode::kEnforce)) return;
  Action action;
  action.vm = vm.facts.id;
  action.old =
      is_in_charge ? vm.applied.count() : vm.facts.baseline_cap.count();
  action.value =
      is_in_charge ? vm.facts.baseline_cap.count() : vm.target.count();
  action.reason = is_in_charge ? Reason::kBaseline : vm.reason;
  if (action.value != action.old) write_action(action, vm.facts.name, reply);
}

ControlAnswer mode(Agent& agent, const ControlCall& call, JsonText& reply) {
  CpuControl& cpu = agent.cpu();
  if (!call.request.text("mode")) {
    reply.member("mode", mode_name(cpu.mode()));
    return {};
  }
  const auto wanted = mode_of(call);
  if (!wanted) return no_such_mode();
  if (call.role == Role::kViewer) {
    return refusal(ControlCode::kRefused, "only operators may set the mode");
  }
  if (call.request.flag("dry_run")) {
    reply.member("mode", mode_name(*wanted)).key("writes").array();
    const Controller& controller = cpu.controller();
    for (std::size_t i = 0; i < controller.vm_count(); ++i) {
      VmState vm = controller.vm(i);
      Policy then = controller.policy();
      then.mode = *wanted;
      write_change(vm, resolve(then, vm.facts).mode, reply);
    }
    reply.end();
    return {};
  }
  auto can_be_met = cpu.check_mode(*wanted);
  if (!can_be_met) {
    return refusal(ControlCode::kRefused, std::move(can_be_met.error().what));
  }
  auto done = cpu.set_mode(*wanted);
  if (!done) return refusal(std::move(done.error()));
  agent.memory().set_mode(*wanted);
  reply.member("mode", mode_name(cpu.mode()));
  return {};
}

ControlAnswer vm_mode(Agent& agent, const ControlCall& call, JsonText& reply) {
  const Vm* vm = find_vm(agent, call);
  if (vm == nullptr) return no_such_vm(call);
  const auto wanted = mode_of(call);
  if (!wanted) return no_such_mode();
  CpuControl& cpu = agent.cpu();
  const VmState* state = cpu.controller().find(vm->id);
  if (state == nullptr) return no_such_vm(call);
  const Mode most = resolve(cpu.controller().policy(), state->facts).mode;
  reply.key("vm");
  write_identity(reply, *vm);
  reply.member("mode", mode_name(*wanted))
      .member("effective", mode_name(std::min(*wanted, most)));
  if (call.request.flag("dry_run")) {
    reply.key("writes").array();
    write_change(*state, std::min(*wanted, most), reply);
    reply.end();
    return {};
  }
  auto done = cpu.set_mode(vm->id, *wanted);
  if (!done) return refusal(std::move(done.error()));
  agent.memory().set_mode(vm->id, *wanted);
  return {};
}

using VmChange = Result<> (CpuControl::*)(VmId);

// What the change would write: the baseline, or what the VM is meant to have.
ControlAnswer change_vm(Agent& agent, VmChange change, Mode then,
                        const ControlCall& call, JsonText& reply) {
  const Vm* vm = find_vm(agent, call);
  if (vm == nullptr) return no_such_vm(call);
  reply.key("vm");
  write_identity(reply, *vm);
  CpuControl& cpu = agent.cpu();
  if (call.request.flag("dry_run")) {
    reply.key("writes").array();
    const VmState* state = cpu.controller().find(vm->id);
    if (state != nullptr) {
      write_change(*state, std::min(then, state->policy.mode), reply);
    }
    reply.end();
    return {};
  }
  auto done = (cpu.*change)(vm->id);
  if (!done) return refusal(std::move(done.error()));
  if (change == &CpuControl::let_go || change == &CpuControl::take_up) {
    agent.memory().set_migrating(vm->id, change == &CpuControl::let_go);
  }
  return {};
}

void write_allocation(const VmState& vm, JsonText& reply) {
  const auto name = [](auto value, const auto& names) {
    return names[static_cast<std::size_t>(value)];
  };
  reply.object()
      .member("vm", static_cast<std::uint32_t>(vm.facts.id))
      .member("name", vm.facts.name)
      .member("class", name(vm.policy.vm_class, kVmClassNames))
      .member("mode", mode_name(vm.policy.mode))
      .member("demand_mcpu", vm.demand.count())
      .member("upper_bound", vm.seen.upper_bound)
      .member("target_mcpu", vm.target.count())
      .member("applied_mcpu", vm.applied.count())
      .member("reserve_mcpu", vm.reserve.count())
      .member("lent_mcpu", vm.lent.count())
      .member("loan_mcpu", vm.loan.count())
      .member("p50_mcpu", vm.ahead.peak[kP50].count())
      .member("p95_mcpu", vm.ahead.peak[kP95].count())
      .member("p99_mcpu", vm.ahead.peak[kP99].count())
      .member("reason", to_text(vm.reason))
      .member("contended", vm.contended)
      .member("let_go", vm.let_go)
      .end();
}

ControlAnswer allocations(Agent& agent, JsonText& reply) {
  const Controller& controller = agent.cpu().controller();
  reply.member("mode", mode_name(controller.policy().mode))
      .member("capacity_mcpu", controller.capacity().count());
  reply.key("vms").array();
  for (std::size_t i = 0; i < controller.vm_count(); ++i) {
    write_allocation(controller.vm(i), reply);
  }
  reply.end();
  return {};
}

ControlAnswer release(Agent& agent, const ControlCall& call, JsonText& reply) {
  const bool is_dry = call.request.flag("dry_run");
  const std::vector<HeldBaseline> held = agent.cpu().held();
  if (!is_dry) {
    auto done = agent.cpu().release();
    if (!done) return refusal(std::move(done.error()));
    agent.memory().set_mode(Mode::kObserve);
  }
  reply.member("dry_run", is_dry).key("knobs").array();
  for (const HeldBaseline& knob : held) {
    reply.object()
        .member("cgroup", knob.cgroup)
        .member("knob", knob.attribute)
        .member("old", knob.present);
    if (knob.is_ours) reply.member("new", knob.baseline);
    reply
        .member("reason", knob.is_ours
                              ? to_text(Reason::kBaseline)
                              : "somebody else has written since: left alone")
        .end();
  }
  reply.end();
  return {};
}

ControlAnswer explain(Agent& agent, const ControlCall& call, JsonText& reply) {
  const Vm* vm = find_vm(agent, call);
  if (vm == nullptr) return no_such_vm(call);
  if (!write_explanation(agent, *vm, reply)) return no_such_vm(call);
  return {};
}

ControlAnswer give_learned(Agent& agent, const ControlCall& call,
                           JsonText& reply) {
  const Vm* vm = find_vm(agent, call);
  if (vm == nullptr) return no_such_vm(call);
  std::vector<std::byte> learned;
  if (!agent.cpu().controller().give_learned(vm->id, learned)) {
    return no_such_vm(call);
  }
  if (vm->identity.uuid.empty()) {
    return refusal(ControlCode::kRefused,
                   "it has no UUID by which another host would know it");
  }
  reply.member("uuid", vm->identity.uuid).member("learned", to_hex(learned));
  return {};
}

ControlAnswer take_learned(Agent& agent, const ControlCall& call) {
  auto learned = from_hex(call.request.text("learned").value_or(""));
  if (!learned) return refusal(ControlCode::kUsage, "learned: want hex digits");
  const std::string uuid = clean_uuid(call.request.text("uuid").value_or(""));
  if (uuid.empty()) {
    return refusal(ControlCode::kUsage, "uuid: want one, in hex digits");
  }
  auto taken = agent.cpu().take_learned(uuid, *std::move(learned));
  if (!taken) {
    return refusal(ControlCode::kRefused, std::move(taken.error().what));
  }
  return {};
}

}  // namespace

std::vector<ControlVerb> cpu_verbs(Agent& agent) {
  using Kind = ControlArg::Kind;
  const ControlArg vm{.name = "vm", .required = true};
  const ControlArg dry_run{.name = "dry_run", .kind = Kind::kFlag};
  const auto changer = [&](std::string_view name, VmChange change, Mode then) {
    return ControlVerb{
        .name = name,
        .role = Role::kOperator,
        .args = {vm, dry_run},
        .handler = [&agent, change, then](const ControlCall& call,
                                          JsonText& reply) {
          return change_vm(agent, change, then, call, reply);
        }};
  };
  return {
      {"mode",
       Role::kViewer,
       {{.name = "mode"}, dry_run},
       [&agent](const ControlCall& call, JsonText& reply) {
         return mode(agent, call, reply);
       }},
      {"vm.mode",
       Role::kOperator,
       {vm, {.name = "mode", .required = true}, dry_run},
       [&agent](const ControlCall& call, JsonText& reply) {
         return vm_mode(agent, call, reply);
       }},
      changer("vm.release_contention", &CpuControl::release_contention,
              Mode::kEnforce),
      changer("vm.let_go", &CpuControl::let_go, Mode::kObserve),
      changer("vm.take_up", &CpuControl::take_up, Mode::kEnforce),
      {"vm.export",
       Role::kOperator,
       {vm},
       [&agent](const ControlCall& call, JsonText& reply) {
         return give_learned(agent, call, reply);
       }},
      {"vm.import",
       Role::kOperator,
       {{.name = "uuid", .required = true},
        {.name = "learned", .required = true}},
       [&agent](const ControlCall& call, JsonText&) {
         return take_learned(agent, call);
       }},
      {"release",
       Role::kOperator,
       {dry_run},
       [&agent](const ControlCall& call, JsonText& reply) {
         return release(agent, call, reply);
       }},
      {"allocations",
       Role::kViewer,
       {},
       [&agent](const ControlCall&, JsonText& reply) {
         return allocations(agent, reply);
       }},
      {"explain",
       Role::kViewer,
       {vm},
       [&agent](const ControlCall& call, JsonText& reply) {
         return explain(agent, call, reply);
       }},
  };
}

}  // namespace outrider
