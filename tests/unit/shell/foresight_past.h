// SPDX-License-Identifier: Apache-2.0
// Pasts of a VM, as an agent would have kept them.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <random>
#include <string>
#include <utility>

#include "agent/config.h"
#include "agent/horizon/rollup.h"
#include "agent/rollup_files.h"
#include "tests/unit/shell/temporary_dir.h"

namespace outrider {

inline constexpr const char* kUuid = "6c1f0c4e-2bd1-4d7a-9d2f-0f4b6a6f1a11";
inline constexpr Slot kDay = 288;
inline constexpr Slot kStart = 20'000 * kDay;  // a midnight in 2024

using Load = std::function<std::int64_t(Slot)>;  // milli-CPU

/// An hour of 1.8 CPUs a day, and little else.
inline std::int64_t daily(Slot slot) {
  const Slot phase = slot % kDay;
  const std::int64_t little = slot * 7919 % 40;
  return phase >= 8 && phase < 20 ? 1800 + little : 300 + little;
}

/// Nothing has to do with anything.
inline std::int64_t noise(Slot slot) {
  std::mt19937 random{static_cast<std::uint32_t>(slot)};
  return static_cast<std::int64_t>(
      std::normal_distribution<double>{1000, 200}(random));
}

inline PredictiveConfig config_in(const TemporaryDir& dir) {
  PredictiveConfig config;
  config.enabled = true;
  config.directory = dir.path() + "/rollups";
  return config;
}

inline RollupFiles files_of(const PredictiveConfig& config) {
  auto files = RollupFiles::open(config.directory);
  EXPECT_TRUE(files) << files.error().what;
  return *std::move(files);
}

/// As if an agent had seen `load` for that many slots before kStart.
inline void remember(const PredictiveConfig& config, const Load& load,
                     Slot slots, const std::string& uuid = kUuid) {
  Rollup rollup;
  for (Slot slot = kStart - slots; slot < kStart; ++slot) {
    const auto p95 = static_cast<float>(load(slot));
    // So far above that what is foreseen is seen to be of p95s.
    rollup.put(slot, {.peak = 3 * p95, .p95 = p95});
  }
  ASSERT_TRUE(files_of(config).write(uuid, rollup));
}

}  // namespace outrider
