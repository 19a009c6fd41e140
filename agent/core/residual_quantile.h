// SPDX-License-Identifier: Apache-2.0
// Online quantiles of what a point forecast was wrong by.
#pragma once

#include <cstddef>

#include "agent/core/forecaster.h"

namespace outrider {

/// Four figures worked on at once, as wide as every x86-64 can.
using Quad = float __attribute__((vector_size(16)));

/// One figure for each tracked quantile. Eight, not kTaus, to fill the vectors;
/// the last two follow along.
/// Invariant: a trivially copyable value.
struct Lanes {
  static constexpr std::size_t kQuads = 2;
  Quad quad[kQuads] = {};

  /// Of quantile `i`.
  float operator[](std::size_t i) const { return quad[i / 4][i % 4]; }
  void set(std::size_t i, float value) { quad[i / 4][i % 4] = value; }
  /// Every figure becomes `value`.
  void fill(float value) {
    for (Quad& q : quad) q = Quad{} + value;
  }
};
static_assert(kTaus <= 4 * Lanes::kQuads);

/// kTausPermille as shares.
inline constexpr Lanes kTau = {
    {{0.5F, 0.8F, 0.9F, 0.95F}, {0.99F, 0.999F, 0.999F, 0.999F}}};

/// How far a quantile moves in one step, in parts of the running error: rarer
/// ones have fewer misses to learn from, so each counts for more. On the
/// recorded demand that the tests replay, half as much does as well.
inline constexpr Lanes kQuantileGain = {
    {{0.04F, 0.05F, 0.08F, 0.12F}, {0.35F, 1.5F, 1.5F, 1.5F}}};

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
  Lanes above;  // the point

  /// Learn from `seen`. `scale` is the running error of the point: what the
  /// steps are measured in. `miss` is the share to be missed, 1 - tau. A peak
  /// of which it is not known whether it was above a quantile leaves that
  /// quantile alone.
  void learn(float point, PeakSeen seen, float scale, const Lanes& miss) {
    const Quad none{};
    const Quad least = none + (seen.least - point);
    const Quad most = none + (seen.most - point);
    for (std::size_t i = 0; i < Lanes::kQuads; ++i) {
      const Quad q = above.quad[i];
      // A part of itself as well: a quantile that is far off comes back in
      // geometric steps, even where the error itself has become nothing.
      const Quad step =
          kQuantileGain.quad[i] * (scale + 0.125F * (q < none ? -q : q));
      const Quad up = least > q ? step * (1.0F - miss.quad[i]) : none;
      const Quad down = most <= q ? step * miss.quad[i] : none;
      above.quad[i] = q + up - down;
    }
  }
};

}  // namespace outrider
