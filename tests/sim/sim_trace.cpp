// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/sim_trace.h"

#include <algorithm>
#include <utility>

namespace outrider::sim {
namespace {

constexpr std::int64_t kStepMs = 10;  // of a walk and of a recording

using Kind = SimTraceSpec::Kind;

std::int64_t peak_of(const SimTraceSpec& spec) {
  if (spec.kind == Kind::kIdle) return spec.base;
  if (spec.kind == Kind::kReplay) return std::ranges::max(spec.replay);
  return std::max(spec.level, spec.base);
}

}  // namespace

SimTrace::SimTrace(SimTraceSpec spec, std::uint64_t seed)
    : spec_(std::move(spec)),
      random_(seed),
      peak_(peak_of(spec_)),
      left_ms_(spec_.offset_ms) {
  level_ = random_.below(spec_.level + 1);
}

// One milli-CPU for one millisecond is one microsecond.
std::int64_t SimTrace::next() {
  const std::int64_t step = now_ms_ / kStepMs;
  const bool is_new_step = now_ms_++ % kStepMs == 0;
  switch (spec_.kind) {
    case Kind::kIdle:
      return spec_.base;
    case Kind::kHog:
      return spec_.level;
    case Kind::kRandomWalk:
      return is_new_step ? walk() : level_;
    case Kind::kReplay:
      return spec_.replay[static_cast<std::size_t>(step) % spec_.replay.size()];
    case Kind::kPeriodic:
    case Kind::kJittered:
    case Kind::kOnOff:
      break;
  }
  return burst();
}

std::int64_t SimTrace::burst() {
  while (left_ms_ == 0) {
    on_ = !on_;
    left_ms_ = length(on_ ? spec_.on_ms : spec_.period_ms - spec_.on_ms);
  }
  --left_ms_;
  return on_ ? spec_.level : spec_.base;
}

std::int64_t SimTrace::length(std::int64_t nominal_ms) {
  if (spec_.kind == Kind::kJittered) {
    return std::max<std::int64_t>(
        1, nominal_ms * (750 + random_.below(501)) / 1000);
  }
  if (spec_.kind == Kind::kOnOff) return 1 + random_.below(2 * nominal_ms);
  return nominal_ms;
}

std::int64_t SimTrace::walk() {
  const std::int64_t step = 1 + spec_.level / 10;
  level_ += random_.below(2 * step + 1) - step;
  level_ = std::clamp<std::int64_t>(level_, 0, spec_.level);
  return level_;
}

}  // namespace outrider::sim
