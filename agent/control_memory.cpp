// SPDX-License-Identifier: Apache-2.0
#include "agent/control_memory.h"

#include <algorithm>
#include <optional>
#include <string>

#include "agent/config_policy.h"
#include "agent/cpu_control.h"
#include "agent/sys/clock.h"

namespace outrider {
namespace {

void write_books(const MemoryBooks& books, JsonText& reply) {
  reply.key("host")
      .object()
      .member("missing", books.host.missing)
      .member("total_bytes", books.host.total.count())
      .member("available_bytes", books.host.available.count())
      .member("host_share_bytes", books.host_share.count())
      .member("reserve_bytes", books.reserve.count())
      .member("short_of_bytes", books.short_of.count())
      .member("outstanding_bytes", books.outstanding.count())
      .end();
}

void write_guest(const GuestMemory& guest, JsonText& reply) {
  reply.key("guest")
      .object()
      .member("total_bytes", guest.total.count())
      .member("available_bytes", guest.available.count())
      .member("major_faults", guest.major_faults)
      .member("swapped_in_bytes", guest.swapped_in.count())
      .member("swapped_out_bytes", guest.swapped_out.count())
      .member("age_ms", guest.age / std::chrono::milliseconds{1})
      .end();
}

// What is not seen is not there.
void write_signals(const VmMemory& seen, JsonText& reply) {
  const auto add = [&reply](std::string_view name, const auto& value) {
    if (value) reply.member(name, *value);
  };
  reply.key("signals").object();
  if (seen.pressure) {
    reply.member("pressure_some_us", seen.pressure->some_us)
        .member("pressure_full_us", seen.pressure->full_us);
  }
  if (seen.events) reply.member("oom_kills", seen.events->oom_kill);
  if (seen.stat) {
    reply.member("anon_bytes", seen.stat->anon.count())
        .member("file_bytes", seen.stat->file.count())
        .member("refaults", seen.stat->refaults_anon + seen.stat->refaults_file)
        .member("major_faults", seen.stat->major_faults);
  }
  add("first_touches", seen.first_touches);
  add("direct_reclaims", seen.direct_reclaims);
  add("direct_reclaim_ns", seen.direct_reclaim_ns);
  add("reclaims", seen.memcg_reclaims);
  add("reclaim_ns", seen.memcg_reclaim_ns);
  reply.end();
}

void write_last(const LastBalloon& last, JsonText& reply) {
  reply.key("last")
      .object()
      .member("old_bytes", last.action.old.count())
      .member("new_bytes", last.action.value.count())
      .member("reason", to_text(last.action.reason))
      .member("ago_ms",
              (monotonic_now() - last.at) / std::chrono::milliseconds{1})
      .member("advice", last.is_advice)
      .member("refusal", last.refusal)
      .end();
}

ControlAnswer memory(Agent& agent, JsonText& reply) {
  const MemoryControl& memory = agent.memory();
  const Policy& policy = memory.controller().policy();
  reply.member("mode", mode_name(std::min(policy.mode, policy.memory.mode)))
      .member("watched", memory.is_on())
      .member("cannot", memory.cannot());
  write_books(memory.controller().books(), reply);
  reply.key("vms").array();
  for (const auto& seat : memory.controller().seats()) {
    write_vm_memory(memory, seat->state.facts.id, reply);
  }
  reply.end();
  return {};
}

}  // namespace

void write_vm_memory(const MemoryControl& memory, VmId vm, JsonText& reply) {
  const MemoryState* state = memory.controller().find(vm);
  if (state == nullptr) return;
  const MemoryInput& seen = state->seen;
  reply.object()
      .member("vm", static_cast<std::uint32_t>(vm))
      .member("name", state->facts.name)
      .member("class",
              kVmClassNames[static_cast<std::size_t>(state->policy.vm_class)])
      .member("mode", mode_name(state->policy.mode))
      .member("missing", state->missing)
      .member("resident_bytes", seen.resident.count())
      .member("swapped_bytes", seen.swapped.count())
      .member("size_bytes", seen.size.count())
      .member("balloon_bytes", seen.balloon.count())
      .member("target_bytes", state->target.count())
      .member("floor_bytes", state->policy.floor_of(seen.size).count())
      .member("used_known", state->is_used_known)
      .member("used_bytes", state->used.count())
      .member("needed_bytes", state->needed.count())
      .member("idle_bytes", state->idle.count())
      .member("growth_bytes", state->growth.count())
      .member("cooperation", to_text(state->cooperation))
      .member("fixed", to_text(seen.fixed))
      .member("leaks", state->leaks)
      .member("asked", state->asked)
      .member("refused", state->refused)
      .member("distressed", state->distressed)
      .member("taken_bytes", state->taken.count());
  const GuestLink* link = memory.link(vm);
  reply.member("qmp", link == nullptr ? "none" : name_of(link->state()))
      .member("qmp_what",
              link == nullptr ? memory.missing_link(vm) : link->complaint());
  if (seen.guest) write_guest(*seen.guest, reply);
  const VmMemory* signals = memory.seen(vm);
  if (signals != nullptr) write_signals(*signals, reply);
  const auto last = memory.last_balloon(vm);
  if (last) write_last(*last, reply);
  reply.end();
}

void write_memory_limits(const MemoryControl& memory, VmId vm,
                         JsonText& reply) {
  reply.key("memory_limits").array();
  const auto limits = memory.limits(vm);
  const auto add = [&reply](std::string_view knob,
                            const std::optional<MemoryLimit>& limit) {
    if (!limit) return;
    reply.object()
        .member("knob", knob)
        .member("own_bytes", limit->own.count())
        .member("effective_bytes", limit->effective.count())
        .member("binding", limit->binding)
        .end();
  };
  if (limits) {
    add("memory.min", limits->min);
    add("memory.low", limits->low);
    add("memory.high", limits->high);
    add("memory.max", limits->max);
    add("memory.swap.max", limits->swap_max);
    add("memory.zswap.max", limits->zswap_max);
  }
  reply.end();
}

std::vector<ControlVerb> memory_verbs(Agent& agent) {
  return {{"memory",
           Role::kViewer,
           {},
           [&agent](const ControlCall&, JsonText& reply) {
             return memory(agent, reply);
           }}};
}

}  // namespace outrider
