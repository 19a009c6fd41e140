// SPDX-License-Identifier: Apache-2.0
#include "agent/control_verbs.h"

#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <limits>
#include <utility>

#include "agent/control_cpu.h"
#include "agent/control_memory.h"
#include "agent/control_resize.h"
#include "agent/control_sample.h"
#include "agent/control_vm.h"

namespace outrider {
namespace {

constexpr std::int64_t kPidMax = std::numeric_limits<pid_t>::max();
constexpr std::array<std::string_view, kThreadClasses> kClassNames = {
    "vcpu", "emulator", "iothread", "vhost"};
constexpr std::array<std::string_view, kExitClasses> kExitNames = {
    "halt", "io", "mmio", "msr", "interrupt", "page_fault", "other"};

ControlAnswer status(Agent& agent, const ControlCall& call, JsonText& reply) {
  const AgentStatus status = agent.status();
  reply.member("version", status.version)
      .member("mode", mode_name(agent.cpu().mode()))
      .member("sensor", status.sensor)
      .member("role", role_name(call.role))
      .member("vms", agent.vms().size())
      .member("uptime_ns", status.uptime.count())
      .member("ticks", status.ticks)
      .member("ticks_skipped", status.ticks_skipped)
      .member("edges", status.edges)
      .member("lost", status.lost)
      .member("thread_slots", status.thread_slots)
      .member("table_entries", status.table_entries)
      .member("own_cpu_ns", status.own_cpu.count());
  if (const Journal* journal = agent.cpu().journal(); journal != nullptr) {
    const JournalStatus written = journal->status();
    reply.key("journal")
        .object()
        .member("directory", journal->directory())
        .member("writing", written.is_writing)
        .member("bytes", written.bytes)
        .member("segments", written.segments)
        .member("dropped", written.dropped)
        .member("failures", written.failures)
        .end();
  }
  reply.key("degraded").array();
  for (const Degradation& each : status.degraded)
    reply.object().member("what", each.what).member("cost", each.cost).end();
  reply.end();
  return {};
}

ControlAnswer list(const Agent& agent, JsonText& reply) {
  reply.key("vms").array();
  for (const Vm& vm : agent.vms()) write_identity(reply, vm);
  reply.end();
  return {};
}

void write_class(JsonText& reply, std::string_view name,
                 const ClassDemand& demand) {
  reply.key(name)
      .object()
      .member("demand_mcpu", demand.demand.count())
      .member("open_wait_mcpu", demand.open_wait.count())
      .member("usage_mcpu", demand.usage.count())
      .member("halt_poll_mcpu", demand.halt_poll.count())
      .member("wait_mcpu", demand.wait.count())
      .member("runnable_mcpu", demand.runnable.count())
      .end();
}

void write_demand(JsonText& reply, const VmDemand& demand) {
  reply.key("demand").object().member("upper_bound", demand.upper_bound);
  write_class(reply, "total", demand.total);
  for (std::size_t i = 0; i < kThreadClasses; ++i)
    write_class(reply, kClassNames[i], demand.by_class[i]);
  reply.member("throttled_mcpu", demand.throttled.count())
      .member("wakeups", demand.wakeups)
      .member("migrations", demand.migrations)
      .member("uncounted_threads", demand.uncounted);
  reply.key("exits").object();
  for (std::size_t i = 0; i < kExitClasses; ++i)
    reply.member(kExitNames[i], demand.exits[i]);
  reply.end().end();
}

void write_threads(JsonText& reply, const Sample& sample, const VmSample& vm) {
  reply.key("threads").array();
  for (std::uint32_t i = 0; i < vm.thread_count; ++i) {
    const ThreadSample& thread = sample.threads[vm.first_thread + i];
    reply.object()
        .member("tid", thread.tid)
        .member("class",
                kClassNames[static_cast<std::size_t>(thread.thread_class)]);
    if (thread.thread_class == ThreadClass::kVcpu)
      reply.member("vcpu", thread.vcpu);
    reply.member("run_ns", thread.run_ns)
        .member("wait_ns", thread.wait_ns)
        .end();
  }
  reply.end();
}

ControlAnswer show(Agent& agent, const ControlCall& call, JsonText& reply) {
  const Vm* vm = find_vm(agent, call);
  if (vm == nullptr) return no_such_vm(call);
  reply.key("vm");
  write_identity(reply, *vm);
  const Demand& demand = agent.demand();
  for (const VmDemand& each : demand.vms)
    if (each.id == vm->id) {
      reply.member("interval_ns", demand.interval.count());
      write_demand(reply, each);
    }
  const Sample& sample = agent.sample();
  for (const VmSample& each : sample.vms)
    if (each.id == vm->id) write_threads(reply, sample, each);
  return {};
}

// Tells one set of VMs from any later one: numbers only rise, so a set that
// lost a VM is smaller, and one that gained a VM ends higher. Never 0.
std::uint64_t set_of(const std::vector<Vm>& vms) {
  const std::uint64_t last =
      vms.empty() ? 0 : static_cast<std::uint32_t>(vms.back().id);
  return (last << 16 | vms.size()) + 1;
}

ControlAnswer sample(Agent& agent, const ControlCall& call, JsonText& reply) {
  write_sample(reply, agent.sample());
  const std::uint64_t set = set_of(agent.vms());
  if (std::exchange(call.memory, set) != set)
    write_identities(reply, agent.vms());
  return {};
}

ControlAnswer attach(Agent& agent, const ControlCall& call, JsonText& reply) {
  const AttachRequest request{
      .pid = static_cast<pid_t>(call.request.count("pid").value_or(0)),
      .cgroup = call.request.text("cgroup").value_or(""),
      .name = call.request.text("name").value_or("")};
  auto attached = agent.attach(request);
  if (!attached)
    return refusal(ControlCode::kError, std::move(attached.error().what));
  for (const Vm& vm : agent.vms())
    if (vm.id == *attached) {
      reply.key("vm");
      write_identity(reply, vm);
    }
  return {};
}

ControlAnswer detach(Agent& agent, const ControlCall& call, JsonText& reply) {
  const Vm* vm = find_vm(agent, call);
  if (vm == nullptr) return no_such_vm(call);
  reply.key("vm");
  write_identity(reply, *vm);  // now: it is gone afterwards
  auto detached = agent.detach(vm->id);
  if (!detached)
    return refusal(ControlCode::kError, std::move(detached.error().what));
  return {};
}

}  // namespace

std::vector<ControlVerb> control_verbs(Agent& agent, const Config& config) {
  using Kind = ControlArg::Kind;
  const ControlArg vm{.name = "vm", .required = true};
  const std::vector<ControlArg> pace = {
      {.name = "period_ms", .kind = Kind::kCount, .min = 5, .max = 3'600'000},
      {.name = "count",
       .kind = Kind::kCount,
       .min = 1,
       .max = std::numeric_limits<std::int64_t>::max()}};
  const std::vector<ControlArg> process = {{.name = "pid",
                                            .kind = Kind::kCount,
                                            .required = true,
                                            .min = 1,
                                            .max = kPidMax},
                                           {.name = "cgroup"},
                                           {.name = "name"}};
  const auto give_sample = [&agent](const ControlCall& call, JsonText& reply) {
    return sample(agent, call, reply);
  };
  std::vector<ControlVerb> verbs = {
      {"status",
       Role::kViewer,
       {},
       [&agent](const ControlCall& call, JsonText& reply) {
         return status(agent, call, reply);
       }},
      {"vm.list",
       Role::kViewer,
       {},
       [&agent](const ControlCall&, JsonText& reply) {
         return list(agent, reply);
       }},
      {"vm.show",
       Role::kViewer,
       {vm},
       [&agent](const ControlCall& call, JsonText& reply) {
         return show(agent, call, reply);
       }},
      {"vm.attach", Role::kAdmin, process,
       [&agent](const ControlCall& call, JsonText& reply) {
         return attach(agent, call, reply);
       }},
      {"vm.detach",
       Role::kOperator,
       {vm},
       [&agent](const ControlCall& call, JsonText& reply) {
         return detach(agent, call, reply);
       }},
      {"sample", Role::kViewer, {}, give_sample},
      {"watch", Role::kViewer, pace, give_sample, true},
      {"config",
       Role::kViewer,
       {},
       [&config](const ControlCall&, JsonText& reply) {
         reply.member("yaml", dump_config(config));
         return ControlAnswer{};
       }},
  };
  for (ControlVerb& verb : cpu_verbs(agent)) verbs.push_back(std::move(verb));
  for (ControlVerb& verb : memory_verbs(agent))
    verbs.push_back(std::move(verb));
  for (ControlVerb& verb : resize_verbs(agent))
    verbs.push_back(std::move(verb));
  return verbs;
}

}  // namespace outrider
