// SPDX-License-Identifier: Apache-2.0
// What came of the quantiles that were told.
#pragma once

#include <algorithm>
#include <cstdint>

#include "agent/core/expert_mix.h"
#include "agent/core/quad.h"

namespace outrider {

/// Of the last 500 forecasts, mostly. A peak of which it is not known whether
/// it was above a quantile says nothing of that one.
/// Invariant: a trivially copyable value.
class ForecastTruth {
 public:
  void learn(const MixPlan& plan, Quad told, PeakSeen seen) {
    const Quad one = quad_of(1);
    const Quad none{};
    const Quad covered = seen.most <= told ? one : none;
    const Quad known = seen.least > told ? one : covered;
    scored_ += known;
    const Quad gain =
        known * greater(quad_of(kGain), one / greater(scored_, one));
    const Quad spare = greater(told - seen.most, quad_of(kTiny));
    const Quad missed = greater(seen.least - told, none);
    covered_ += gain * (covered - covered_);
    spare_ += gain * (spare - spare_);
    loss_ += gain * (plan.tau * missed + (one - plan.tau) * spare - loss_);
    peak_ += gain * (std::max(seen.most, kTiny) - peak_);
  }

  /// Forecasts of which this is, of the quantile that most is known of.
  std::uint32_t scored() const {
    const Quad most = greatest_so_far(scored_);
    return static_cast<std::uint32_t>(most[3]);
  }
  /// Whether it may have come about: of bytes from elsewhere.
  bool is_sound() const {
    return all_within(covered_, 1) && all_within(spare_, kFigureMost) &&
           all_within(loss_, kFigureMost) && all_within(peak_, kFigureMost) &&
           all_within(scored_, kScoredMost);
  }
  /// Shares of the peaks that were not above what was told.
  const Quad& covered() const { return covered_; }
  /// What was told above the peaks, and the pinball loss, by the mean peak.
  Quad spare() const { return by_peak(spare_); }
  Quad loss() const { return by_peak(loss_); }

 private:
  static constexpr float kScoredMost = 1U << 24;  // as a float counts
  static constexpr float kGain = 0.002F;
  static constexpr float kMost = 1e6F;  // of what there was next to nothing of

  Quad by_peak(Quad of_all) const {
    const Quad shares = lesser(of_all / peak_, quad_of(kMost));
    return peak_ > Quad{} ? shares : Quad{};
  }

  Quad covered_{};
  Quad spare_{};
  Quad loss_{};
  Quad peak_{};
  Quad scored_{};
};

}  // namespace outrider
