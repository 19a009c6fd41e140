// SPDX-License-Identifier: Apache-2.0
#include <fmt/core.h>

#include <algorithm>
#include <vector>

#include "agent/bpf_sensor.h"
#include "agent/memory_programs.h"
#include "tests/eyes/checks.h"
#include "tests/eyes/observer.h"

namespace outrider::check {

namespace {

struct Verdicts {
  int wanted = 0;
  int refused = 0;
};

Verdicts count(const std::vector<ProgramVerdict>& verdicts) {
  Verdicts counts;
  for (const ProgramVerdict& verdict : verdicts) {
    if (!verdict.wanted) continue;
    ++counts.wanted;
    if (verdict.loads) continue;
    ++counts.refused;
    fmt::print("  {}: {}\n", verdict.name, verdict.why);
  }
  return counts;
}

}  // namespace

void check_programs() {
  const Verdicts eyes = count(probe_programs());
  report("programs.wanted_here", eyes.wanted, ">= 6", eyes.wanted >= 6);
  report("programs.refused", eyes.refused, "0", eyes.refused == 0);
  // Some kernels refuse every program at a function's entry and end: those two
  // are not there then, and said. All others are at tracepoints.
  std::vector<ProgramVerdict> memory = probe_memory_programs();
  const auto at_function = [](const ProgramVerdict& verdict) {
    return verdict.name.rfind("on_memcg_reclaim", 0) == 0;
  };
  const auto functions = std::stable_partition(
      memory.begin(), memory.end(),
      [&](const ProgramVerdict& verdict) { return !at_function(verdict); });
  const Verdicts optional = count({functions, memory.end()});
  memory.erase(functions, memory.end());
  const Verdicts tracepoints = count(memory);
  report("programs.memory_wanted_here", tracepoints.wanted, ">= 2",
         tracepoints.wanted >= 2);
  report("programs.memory_refused", tracepoints.refused, "0",
         tracepoints.refused == 0);
  report("programs.memcg_refused", optional.refused, "0, or both",
         optional.refused == 0 || optional.refused == optional.wanted);
}

}  // namespace outrider::check
