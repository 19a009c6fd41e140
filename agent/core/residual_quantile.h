// SPDX-License-Identifier: Apache-2.0
// Online quantiles of what a point forecast was wrong by.
#pragma once

#include <array>
#include <cstddef>

#include "agent/core/forecaster.h"

namespace outrider {

/// One figure for each tracked quantile. Eight, not kTaus: loops of a constant
/// power of two become vector instructions. The last two follow along.
inline constexpr std::size_t kLanes = 8;
using Lanes = std::array<float, kLanes>;
static_assert(kTaus <= kLanes);

/// kTausPermille as shares.
inline constexpr Lanes kTau = [] {
  Lanes lanes{};
  for (std::size_t i = 0; i < kLanes; ++i) {
    lanes[i] =
        static_cast<float>(kTausPermille[i < kTaus ? i : kTaus - 1]) / 1000.0F;
  }
  return lanes;
}();

/// How far a quantile moves in one step, in parts of the running error: rarer
/// ones have fewer misses to learn from, so each counts for more.
/// Tuned on the recorded demand that the tests replay.
inline constexpr Lanes kQuantileGain = {0.04F, 0.05F, 0.08F, 0.12F,
                                        0.35F, 1.5F,  1.5F,  1.5F};

/// What is known of the peak that a forecast was about.
struct PeakSeen {
  float most = 0;   // it was at most this
  float least = 0;  // and at least this: less than `most` if it was censored
};

/// The quantiles of (peak - point). Each moves up a little when the peak was
/// above it and down a little when not, in the proportion tau to 1 - tau, so
/// that in the long run a share tau is below. The errors may come in any
/// distribution and may drift.
/// Source: stochastic gradient of the pinball loss (Koenker and Bassett,
/// "Regression Quantiles", 1978).
/// Invariant: a trivially copyable value.
struct ResidualQuantiles {
  Lanes above{};  // the point

  /// Learn from `seen`. `scale` is the running error of the point: what the
  /// steps are measured in. A peak of which it is not known whether it was
  /// above a quantile leaves that quantile alone.
  void learn(float point, PeakSeen seen, float scale) {
    const float most = seen.most - point;
    const float least = seen.least - point;
    for (std::size_t i = 0; i < kLanes; ++i) {
      const float q = above[i];
      // A part of itself as well: a quantile that is far off comes back in
      // geometric steps, even where the error itself has become nothing.
      const float step = kQuantileGain[i] * (scale + (q < 0 ? -q : q) * 0.125F);
      const float up = least > q ? step * kTau[i] : 0.0F;
      const float down = most <= q ? step * (1.0F - kTau[i]) : 0.0F;
      above[i] = q + up - down;
    }
  }
};

}  // namespace outrider
