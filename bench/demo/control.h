// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "bench/demo/guests.h"

namespace outrider::demo {

enum class Rule : std::uint8_t { kStatic, kReactive, kWindowP95, kOracle };

struct Baseline {
  Rule rule = Rule::kReactive;
  Duration pace{};    // between decisions
  double margin = 0;  // of kStatic: the position between mean and peak
};

/// Two processors, less what Outrider is told to leave to the host.
inline constexpr MilliCpus kCapacity{1900};

/// Moves the guests' caps until told to stop, and then leaves them.
void control(const std::vector<Guest>& guests, const Baseline& baseline);

}  // namespace outrider::demo
