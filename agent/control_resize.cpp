// SPDX-License-Identifier: Apache-2.0
#include "agent/control_resize.h"

#include <algorithm>
#include <string>
#include <utility>

#include "agent/control_sample.h"
#include "agent/control_vm.h"
#include "agent/log.h"
#include "agent/resizes.h"

namespace outrider {
namespace {

constexpr std::int64_t kPatienceMs = 60'000;
// No Linux guest lives on less; an explicit floor of its policy is above it.
constexpr Bytes kLeast{64 * kMebibyte.count()};

// A floor in percent is what may be taken without being asked; this is asked.
Bytes least_of(Agent& agent, const Vm& vm) {
  const Policy& policy = agent.memory().controller().policy();
  const VmMemoryPolicy its = resolve_memory(
      policy,
      {.id = vm.id, .name = vm.identity.name, .uuid = vm.identity.uuid});
  return std::max(its.floor, kLeast);
}

ControlAnswer resize(Agent& agent, const ControlCall& call, JsonText& reply) {
  const Vm* vm = find_vm(agent, call);
  if (vm == nullptr) return no_such_vm(call);
  ResizeOptions options;
  if (const auto bytes = call.request.count("memory_bytes")) {
    options.wish.memory = Bytes{*bytes};
  }
  options.wish.vcpus = call.request.count("vcpus");
  if (!options.wish.memory && !options.wish.vcpus) {
    return refusal(ControlCode::kUsage, "want memory_bytes, vcpus or both");
  }
  options.least = least_of(agent, *vm);
  options.dry_run = call.request.flag("dry_run");
  options.patience = std::chrono::milliseconds{
      call.request.count("patience_ms").value_or(kPatienceMs)};
  auto started = agent.resizes().start(*vm, options);
  if (!started) {
    return refusal(ControlCode::kError, std::move(started.error().what));
  }
  reply.key("vm");
  write_identity(reply, *vm);
  return {};
}

void write_step(const ResizeProgress& progress, std::size_t index,
                JsonText& reply) {
  const ResizeStep& step = progress.steps[index];
  const std::size_t done = progress.took.size();
  const bool is_current = index == done;
  reply.object()
      .member("what", to_text(step.kind))
      .member("device", step.device);
  const bool is_memory = step.kind != ResizeStep::Kind::kPlugCpu &&
                         step.kind != ResizeStep::Kind::kUnplugCpu;
  if (is_memory) {
    const Bytes reached = index < done ? step.to
                          : is_current ? progress.reached
                                       : step.from;
    reply.member("from_bytes", step.from.count())
        .member("to_bytes", step.to.count())
        .member("reached_bytes", reached.count());
  }
  std::string_view state = "waiting";
  if (index < done) {
    state = "done";
    reply.member("took_us",
                 progress.took[index] / std::chrono::microseconds{1});
  } else if (is_current && progress.phase == ResizePhase::kMoving) {
    state = "moving";
  } else if (is_current && progress.phase == ResizePhase::kFailed) {
    state = "failed";
  }
  reply.member("state", state).end();
}

ControlAnswer resize_state(Agent& agent, const ControlCall& call,
                           JsonText& reply) {
  const Vm* vm = find_vm(agent, call);
  if (vm == nullptr) return no_such_vm(call);
  const ResizeProgress* progress = agent.resizes().find(vm->id);
  if (progress == nullptr) {
    return refusal(ControlCode::kError,
                   "no resize of it was asked for: see `outrider vm resize`");
  }
  reply.key("vm");
  write_identity(reply, *vm);
  reply.member("phase", to_text(progress->phase));
  if (!progress->why.empty()) reply.member("why", progress->why);
  if (progress->shape) {
    reply.member("memory_bytes", progress->shape->memory().count())
        .member("vcpus", progress->shape->vcpus());
  }
  reply.key("steps").array();
  for (std::size_t i = 0; i < progress->steps.size(); ++i) {
    write_step(*progress, i, reply);
  }
  reply.end();
  return {};
}

}  // namespace

std::vector<ControlVerb> resize_verbs(Agent& agent) {
  using Kind = ControlArg::Kind;
  const ControlArg vm{.name = "vm", .required = true};
  return {
      {"vm.resize",
       Role::kOperator,
       {vm,
        {.name = "memory_bytes",
         .kind = Kind::kCount,
         .min = kMebibyte.count(),
         .max = std::int64_t{1} << 50},
        {.name = "vcpus", .kind = Kind::kCount, .min = 1, .max = 8192},
        {.name = "patience_ms",
         .kind = Kind::kCount,
         .min = 100,
         .max = 3'600'000},
        {.name = "dry_run", .kind = Kind::kFlag}},
       [&agent](const ControlCall& call, JsonText& reply) {
         return resize(agent, call, reply);
       }},
      {"vm.resize_state",
       Role::kViewer,
       {vm},
       [&agent](const ControlCall& call, JsonText& reply) {
         return resize_state(agent, call, reply);
       }},
  };
}

}  // namespace outrider
