// SPDX-License-Identifier: Apache-2.0
// The part of the configuration that says how CPU is given out: from YAML to
// core's Policy and back.
#pragma once

#include <array>
#include <string_view>

#include "agent/config.h"
#include "agent/core/policy.h"
#include "agent/fields.h"

namespace outrider {

// As they are written, in the order of their enumerators.
inline constexpr std::array<std::string_view, 3> kModeNames = {
    "observe", "advise", "enforce"};
inline constexpr std::array<std::string_view, kVmClasses> kVmClassNames = {
    "critical", "production", "development", "batch"};

// A tick's length, whichever of its two keys gives it.
inline constexpr DurationRange kTickPeriod = {std::chrono::milliseconds{5},
                                              std::chrono::minutes{1}};

/// Where the file names a profile, sets what that profile stands for; to be
/// read before those keys, so that they have the last word.
void read_profile(Fields& fields, Config& config);

/// The keys of the policy; `config` has their values so far.
void read_policy(Fields& fields, Config& config);

/// Every key of read_profile() and read_policy() into the open mapping, but
/// MonitoringInterval: that is tick_period_ms.
void dump_policy(YAML::Emitter& out, const Config& config);

}  // namespace outrider
