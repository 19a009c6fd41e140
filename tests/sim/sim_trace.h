// SPDX-License-Identifier: Apache-2.0
// What a simulated VM has to do, millisecond by millisecond.
#pragma once

#include <cstdint>
#include <vector>

#include "tests/sim/sim_random.h"

namespace outrider::sim {

struct SimTraceSpec {
  enum class Kind : std::uint8_t {
    kIdle,        // `base` alone
    kPeriodic,    // `on_ms` of `level` every `period_ms`, `base` between them
    kJittered,    // likewise, each length 75..125 % of what it says
    kOnOff,       // likewise, each length anything up to twice what it says
    kHog,         // always more: what was not served is not missed later
    kRandomWalk,  // a step up or down every 10 ms, 0..`level`
    kReplay,      // `replay`, 10 ms each, over and over
  };
  Kind kind = Kind::kIdle;
  std::int64_t level = 1000;           // milli-CPU
  std::int64_t base = 0;               // milli-CPU
  std::int64_t period_ms = 500;        // above on_ms
  std::int64_t on_ms = 100;            // above 0
  std::int64_t offset_ms = 0;          // of `base`, before the first burst
  std::vector<std::int32_t> replay{};  // milli-CPU; not empty if replayed
};

/// Invariant: the same spec and seed give the same work.
class SimTrace {
 public:
  SimTrace(SimTraceSpec spec, std::uint64_t seed);

  /// Work that arrives in the next millisecond, in microseconds of CPU. Of a
  /// hog it is what it could use, each time.
  std::int64_t next();
  /// The most that ever arrives in a millisecond.
  std::int64_t peak() const { return peak_; }
  bool is_hog() const { return spec_.kind == SimTraceSpec::Kind::kHog; }

 private:
  std::int64_t burst();
  std::int64_t walk();
  std::int64_t length(std::int64_t nominal_ms);

  SimTraceSpec spec_;
  SimRandom random_;
  std::int64_t peak_;
  std::int64_t now_ms_ = 0;
  std::int64_t left_ms_ = 0;  // of the burst, or of the time between two
  bool on_ = false;
  std::int64_t level_ = 0;  // of the walk
};

}  // namespace outrider::sim
