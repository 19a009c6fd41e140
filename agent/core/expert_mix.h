// SPDX-License-Identifier: Apache-2.0
// From what the experts say to quantiles: each by whom was right of late.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "agent/core/forecast_experts.h"
#include "agent/core/quad.h"

namespace outrider {

/// What is known of the peak that a forecast was about.
struct PeakSeen {
  float most = 0;   // it was at most this
  float least = 0;  // and at least this: less than `most` if it was censored

  /// Whether it may have come about: of bytes from elsewhere.
  bool is_sound() const {
    return least >= 0 && least <= most && most <= kFigureMost;
  }
};

/// Which four quantiles are tracked, and how fast each learns.
struct MixPlan {
  /// Shape: shares, rising, 0.01 .. 0.9999; steps, from 1.
  MixPlan(std::array<double, 4> shares, std::uint32_t horizon);

  Quad tau;
  // How far a quantile moves in one step, in parts of the running error: rarer
  // ones have fewer misses to learn from, so each counts for more.
  Quad gain;
  Quad regression_gain;
  Quad push_gain;
  // Of the misses of late, what is left of one after a step, and how many are
  // no chance any more.
  float misses_kept;
  Quad misses_most;
};

/// What of a mix is of the experts that go by a season; not touched while none
/// is believed in. Invariant: without padding.
struct SeasonMix {
  Quad loss[kPointsSeasonal] = {};
  Quad above[kPointsSeasonal] = {};
  Quad weight{};  // of the regression's feature
  std::array<float, kPointsSeasonal> scale{};
  std::array<float, 2> unused{};  // fills up to the quads' alignment

  /// Whether it may have come about: of bytes from elsewhere.
  bool is_sound() const;
};

/// Quantiles of the peak, of one series.
///
/// Each expert's point becomes quantiles by those of what it was wrong by, and
/// the regression tells quantiles itself; all of them follow the gradient of
/// the pinball loss (Koenker and Bassett, "Regression Quantiles", 1978). They
/// are weighed, for each quantile, by a high power of how little they lost of
/// late. A last step moves what is told until it is missed as often as it says,
/// whatever the demand does (Gibbs and Candes, "Adaptive Conformal Inference",
/// 2021). While it is missed far more often than chance would have it, it is no
/// less than the peak of late.
/// Property: of any unit, as Experts. What is told rises from quantile to
/// quantile, is finite and not negative.
/// Invariant: a trivially copyable value; allocates nothing.
class ExpertMix {
 public:
  /// The first value. `prior`: what may be above it.
  void start(float value, float prior);

  /// The truth of `told`, which was told on these grounds. `kept`: the share of
  /// their losses that experts keep. A peak of which it is not known whether it
  /// was above a quantile leaves that quantile alone.
  void learn(const MixPlan& plan, const Grounds& grounds, Quad told,
             PeakSeen seen, float kept);

  /// `most`: what no expert may tell more than.
  Quad tell(const MixPlan& plan, const Grounds& grounds, float most) const;

  /// A season was just found: whoever goes by it begins as good as the best,
  /// and keeps that by being right. The constant hands over what it told for
  /// the mean of the periods.
  void welcome_season();
  /// It is believed in no more: the constant takes that back.
  void dismiss_season();

  /// How much each counts in quantile `tau` of what is told; they sum to 1.
  std::array<float, kExperts> weights(const Grounds& grounds,
                                      std::size_t tau) const;
  /// Whether it may have come about: of bytes from elsewhere.
  bool is_sound() const;
  /// How often it began to be missed too often, since the start.
  std::uint32_t fallbacks() const { return fallbacks_; }

 private:
  // What the regression goes by, in units: so many, a season's, and nothing.
  using Features = std::array<Quad, 2>;
  static constexpr std::size_t kFeatures = 6;

  void learn_points(const MixPlan& plan, const Grounds& grounds, PeakSeen seen,
                    float kept);
  void learn_regression(const MixPlan& plan, const Grounds& grounds,
                        PeakSeen seen, float kept);
  static Features features(const Grounds& grounds);
  Quad regression(const Grounds& grounds, const Features& features) const;
  /// Of the experts that tell. `season`: as Grounds.
  Quad least_lost(const SeasonView* season) const;

  Quad loss_[kPointsUnseasonal] = {};
  Quad above_[kPointsUnseasonal] = {};  // the points
  Quad regression_loss_{};
  Quad weights_[kFeatures] = {};
  Features squares_{};  // of each, of late
  Quad push_{};         // of what is told, in units of the running error
  Quad missed_{};       // of late
  std::array<float, kPointsUnseasonal> scale_{};  // running errors
  std::uint32_t steps_ = 0;
  std::uint32_t fallbacks_ = 0;
  float error_ = 0;  // of kAr, of late
  SeasonMix season_;
};

}  // namespace outrider
