// SPDX-License-Identifier: Apache-2.0
#include "agent/core/plan.h"

namespace outrider {

std::string_view to_text(Knob knob) {
  switch (knob) {
    case Knob::kCpuMax:
    case Knob::kVcpuMax:
      return "cpu.max";
    case Knob::kCpuMaxBurst:
      return "cpu.max.burst";
    case Knob::kCpuWeight:
      return "cpu.weight";
    case Knob::kCpuIdle:
      return "cpu.idle";
  }
  return "?";
}

std::string_view to_text(Reason reason) {
  switch (reason) {
    case Reason::kStart:
      return "start";
    case Reason::kForecast:
      return "forecast";
    case Reason::kDemand:
      return "demand";
    case Reason::kEdge:
      return "edge";
    case Reason::kFloor:
      return "floor";
    case Reason::kCeiling:
      return "ceiling";
    case Reason::kShortage:
      return "shortage";
    case Reason::kLoan:
      return "loan";
    case Reason::kRevoked:
      return "revoked";
    case Reason::kLower:
      return "lower";
    case Reason::kReassert:
      return "reassert";
    case Reason::kBaseline:
      return "baseline";
  }
  return "?";
}

}  // namespace outrider
