// SPDX-License-Identifier: Apache-2.0
#include "agent/control_explain.h"

#include <cmath>
#include <optional>
#include <string>

#include "agent/control_memory.h"
#include "agent/control_sample.h"
#include "agent/cpu_control.h"
#include "agent/effective_limits.h"
#include "agent/foresight.h"
#include "agent/state_json.h"

namespace outrider {
namespace {

// Off the tick: some files a level.
void write_path(const CgroupTree* tree, const Vm& vm, JsonText& reply) {
  reply.key("path").array();
  if (tree != nullptr && !vm.identity.cgroup.empty()) {
    auto cap = read_effective_cap(*tree, vm.identity.cgroup);
    if (cap) {
      for (const PathCap& level : cap->path) {
        auto weight = read_weight_share(*tree, level.cgroup);
        reply.object()
            .member("cgroup", level.cgroup)
            .member("cap_mcpu", level.cap.count())
            .member("weight", weight ? weight->weight : 0)
            .member("share_permille", weight ? weight->share_permille : 0)
            .member("binds", cap->binding.cap != kNoCap &&
                                 level.cgroup == cap->binding.cgroup)
            .end();
      }
    }
  }
  reply.end();
}

std::int64_t permille_of(double share) { return std::llround(1000 * share); }

std::int64_t milliseconds_of(Duration duration) {
  return duration / std::chrono::milliseconds{1};
}

// Not there before the VM's first Outlook.
void write_outlook(const Foresight* foresight, const std::string& uuid,
                   JsonText& reply) {
  const auto facts =
      foresight == nullptr ? std::nullopt : foresight->facts(uuid);
  if (!facts) return;
  const PredictiveConfig& config = foresight->config();
  const Prospect& prospect = facts->prospect;
  reply.key("outlook")
      .object()
      .member("slots", prospect.known)
      .member("model", prospect.model)
      .member("season_ms",
              static_cast<std::int64_t>(prospect.season) * kSlotSeconds * 1000)
      .member("judged", prospect.judged)
      .member("coverage_permille", permille_of(prospect.held))
      .member("threshold_permille", permille_of(config.confidence_threshold))
      .member("accuracy_permille", permille_of(prospect.accuracy))
      .member("target_permille", permille_of(config.forecast_accuracy_target))
      .member("target_met", facts->meets_target)
      .member("lead_time_ms", milliseconds_of(config.lead_time))
      .member("peak_mcpu", facts->peak.count())
      .member("believed", facts->is_believed)
      .end();
}

void write_latency(const StageLatencies& latencies, JsonText& reply) {
  const auto stage = [&](std::string_view name, const LatencyHistogram& took) {
    if (took.count() == 0) return;
    reply.object()
        .member("stage", name)
        .member("ns", took.last().count())
        .member("p50_ns", took.quantile(500).count())
        .member("p99_ns", took.quantile(990).count())
        .member("count", took.count())
        .end();
  };
  reply.key("latency").array();
  stage("edge to loop", latencies.edge_to_loop);
  stage("edge decide", latencies.edge_decide);
  stage("edge write", latencies.edge_act);
  stage("edge in all", latencies.edge_total);
  stage("tick decide", latencies.tick_decide);
  stage("tick write", latencies.tick_act);
  reply.end();
}

}  // namespace

bool write_explanation(Agent& agent, const Vm& vm, JsonText& reply) {
  CpuControl& cpu = agent.cpu();
  const VmState* state = cpu.controller().find(vm.id);
  if (state == nullptr) return false;
  reply.key("vm");
  write_identity(reply, vm);
  write_state(*state, cpu.controller(), reply);
  write_outlook(cpu.foresight(), vm.identity.uuid, reply);
  if (agent.memory().controller().find(vm.id) != nullptr) {
    reply.key("memory");
    write_vm_memory(agent.memory(), vm.id, reply);
    write_memory_limits(agent.memory(), vm.id, reply);
  }
  reply.key("writes").array();
  for (const LastAction& last : cpu.last_actions(vm.id)) {
    write_action(last.action, vm.identity.name, reply);
  }
  reply.end();
  write_path(cpu.cgroups(), vm, reply);
  write_latency(cpu.latencies(), reply);
  return true;
}

}  // namespace outrider
