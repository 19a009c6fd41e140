// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "agent/base/units.h"

namespace outrider {

/// Tells a hung agent from a late host, by the agent's heartbeat.
/// Invariant: a heartbeat is given up at most once.
class HangWatch {
 public:
  /// `hang`: how old a heartbeat may become.
  explicit HangWatch(Duration hang) : hang_(hang) {}

  /// How long to sleep until the next look.
  Duration pause() const { return doubts_ == 0 ? hang_ / 4 : hang_ / 8; }

  /// After a sleep that took `slept`: whether the agent is to be given up now.
  /// `heartbeat_ns` is 0 before the first.
  bool look(Duration slept, Instant now, std::uint64_t heartbeat_ns) {
    const Instant beat{Duration{static_cast<Duration::rep>(heartbeat_ns)}};
    const bool is_armed = heartbeat_ns != 0 && heartbeat_ns != given_up_ns_;
    if (!is_armed || now - beat <= hang_) {
      doubts_ = 0;
      return false;
    }
    // Whoever woke so late himself (a busy host, a host that was suspended or
    // stopped) saw a heartbeat that its sender had no chance to renew.
    const bool was_late = slept > pause() + hang_ / 2;
    if (was_late && doubts_ < kDoubtsMax) {
      ++doubts_;
      return false;
    }
    doubts_ = 0;
    given_up_ns_ = heartbeat_ns;
    return true;
  }

 private:
  // A host that is late each time may be as hung as the agent.
  static constexpr int kDoubtsMax = 3;

  Duration hang_;
  std::uint64_t given_up_ns_ = 0;
  int doubts_ = 0;
};

}  // namespace outrider
