// SPDX-License-Identifier: Apache-2.0
#include <fmt/core.h>

#include "agent/bpf_sensor.h"
#include "tests/eyes/checks.h"
#include "tests/eyes/observer.h"

namespace outrider::check {

void check_programs() {
  int wanted = 0;
  int refused = 0;
  for (const ProgramVerdict& verdict : probe_programs()) {
    if (!verdict.wanted) continue;
    ++wanted;
    if (verdict.loads) continue;
    ++refused;
    fmt::print("  {}: {}\n", verdict.name, verdict.why);
  }
  report("programs.wanted_here", wanted, ">= 6", wanted >= 6);
  report("programs.refused", refused, "0", refused == 0);
}

}  // namespace outrider::check
