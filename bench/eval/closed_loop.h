// SPDX-License-Identifier: Apache-2.0
// Methods that set a simulated VM's caps while it works: what they did not let
// through in time comes back as demand.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "agent/eval/method.h"
#include "agent/eval/series.h"

namespace outrider::bench {

/// What a setting of the knob came to, in CPU seconds over all series.
struct LoopPoint {
  double knob = 0;
  double held = 0;      // integral of the caps
  double unserved = 0;  // work not served in the 10 ms that it came in
  double stall = 0;     // what threads could have used and did not get
};

/// Shape: a point a setting, in the knob's order.
struct LoopCurve {
  std::string method;
  std::vector<LoopPoint> points;
};

/// Each series alone on a SimHost with CPUs enough, a cap every 10 ms. The caps
/// are the vCPUs' own, in shares, which take effect as rates: a cap of the
/// whole VM is refilled by each write, and one that is written every tick caps
/// nothing. What each method is told is the demand that the agent would see.
/// Shape: `set` in percent of a CPU every 10 ms.
LoopCurve run_closed_loop(const eval::MethodRow& row,
                          const eval::SeriesSet& set);

/// Where the curve holds as much, between the two settings next to it. None
/// where the knob does not reach so far.
std::optional<LoopPoint> at_held(const LoopCurve& curve, double held);

/// Markdown: what each leaves unserved, and stalls, where it holds as much as
/// `ours` does at these settings of its knob.
std::string loop_table(const std::vector<LoopCurve>& curves,
                       const LoopCurve& ours, const std::vector<double>& knobs);

/// {KNOB OF OURS: {METHOD: {"held", "unserved", "stall"} or null}}
std::string loop_json(const std::vector<LoopCurve>& curves,
                      const LoopCurve& ours, const std::vector<double>& knobs);

}  // namespace outrider::bench
