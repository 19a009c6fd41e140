// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/scenario.h"

#include <array>
#include <string>

namespace outrider::sim {
namespace {

using Kind = SimTraceSpec::Kind;
using std::chrono::milliseconds;

constexpr std::array kKinds = {Kind::kIdle,  Kind::kPeriodic, Kind::kJittered,
                               Kind::kOnOff, Kind::kHog,      Kind::kRandomWalk,
                               Kind::kReplay};

SimTraceSpec random_trace(SimRandom& random, std::int64_t vcpus) {
  SimTraceSpec trace;
  trace.kind = kKinds[static_cast<std::size_t>(
      random.below(static_cast<std::int64_t>(kKinds.size())))];
  trace.level = 1 + random.below(1000 * vcpus);
  trace.base = random.below(1 + trace.level / 8);
  trace.on_ms = 5 + random.below(900);
  trace.period_ms = trace.on_ms + 1 + random.below(3000);
  trace.offset_ms = random.below(2000);
  if (trace.kind == Kind::kReplay) {
    const std::int64_t count = 50 + random.below(200);
    for (std::int64_t i = 0; i < count; ++i) {
      trace.replay.push_back(
          static_cast<std::int32_t>(random.below(1 + trace.level)));
    }
  }
  return trace;
}

SimVmSpec random_vm(SimRandom& random, std::size_t number) {
  SimVmSpec vm;
  vm.name = "vm-" + std::to_string(number);
  if (random.hits(700)) vm.uuid = "uuid-" + std::to_string(number);
  vm.vcpus = 1 + random.below(random.hits(200) ? 8 : 2);
  if (random.hits(250)) vm.cap = MilliCpus{100 + random.below(1000 * vm.vcpus)};
  vm.emulator_permille = random.hits(300) ? random.below(600) : 0;
  vm.period_offset_ms = random.below(100);
  vm.trace = random_trace(random, vm.vcpus);
  return vm;
}

SimFaults random_faults(SimRandom& random) {
  const auto rate = [&](std::int64_t most) {
    return random.hits(400) ? random.below(most + 1) : 0;
  };
  // Now and then nothing is taken at all.
  return {.busy = random.hits(100) ? 1000 : rate(200),
          .refused = rate(100),
          .gone = rate(3),
          .rounded = rate(300),
          .foreign = random.hits(100) ? 30 : rate(3),
          .stale = rate(50),
          .absent = rate(50),
          .reset = rate(20),
          .late = rate(50),
          .leave = rate(10),
          .enter = rate(20)};
}

Policy random_policy(SimRandom& random, std::size_t vms) {
  Policy policy;
  policy.mode = Mode::kEnforce;
  policy.cpu.split = random.hits(200) ? Split::kEqual : Split::kPooled;
  policy.cpu.weights = random.hits(500);
  policy.cpu.host_share = MilliCpus{random.below(300)};
  policy.cpu.lower_after = milliseconds{20 + random.below(500)};
  policy.shadow.scaling = static_cast<ScalingPolicy>(random.below(4));
  policy.shadow.base = MilliCpus{random.hits(300) ? random.below(500) : 0};
  policy.shadow.forecast = random.hits(900);
  if (random.hits(200)) policy.shadow.on_vm_exit = OnVmExit::kTerminate;
  for (std::size_t i = 0; i < vms; ++i) {
    if (random.hits(300)) continue;
    VmRule rule;
    rule.match = "vm-" + std::to_string(i);
    rule.vm_class = static_cast<VmClass>(random.below(kVmClasses));
    if (random.hits(200)) rule.floor = MilliCpus{10 + random.below(300)};
    if (random.hits(200)) rule.ceiling = MilliCpus{400 + random.below(2000)};
    if (random.hits(100)) rule.mode = static_cast<Mode>(random.below(3));
    policy.vms.push_back(rule);
  }
  return policy;
}

}  // namespace

Scenario make_scenario(std::uint64_t seed) {
  SimRandom random(seed * 2 + 1);
  Scenario scenario;
  scenario.host.seed = seed;
  scenario.host.cpus = 1 + random.below(random.hits(300) ? 16 : 4);
  const std::int64_t vms = 1 + random.below(10);
  for (std::int64_t i = 0; i < vms; ++i) {
    scenario.host.vms.push_back(random_vm(random, static_cast<std::size_t>(i)));
  }
  if (random.hits(750)) scenario.host.faults = random_faults(random);
  scenario.policy = random_policy(random, static_cast<std::size_t>(vms));
  return scenario;
}

}  // namespace outrider::sim
