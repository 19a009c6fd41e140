// SPDX-License-Identifier: Apache-2.0
#include "agent/core/expert_mix.h"

#include <algorithm>
#include <cstring>

namespace outrider {
namespace {

constexpr float kGain = 0.014F;
constexpr float kRegressionGain = 0.06F;
constexpr float kVarianceLeast = 0.02F;
// Of its own, as well: a quantile that is far off comes back in geometric
// steps, even where the error has become nothing.
constexpr float kOfItself = 0.125F;
// Of the running error; one error counts as at most so many times the error so
// far, so that one burst does not make all steps coarse.
constexpr float kScaleGain = 0.02F;
constexpr float kScaleClip = 4;
constexpr float kScaleShare = 1e-6F;  // of the demand
constexpr float kSquaresKept = 0.998F;
constexpr float kSquaresFirst = 0.1F;
constexpr float kSquaresLeast = 1e-9F;
constexpr float kHurry = 3;  // by the steps so far: the first ones count more
// Of what is told, by a miss; and what the running error is at least, of the
// mean.
constexpr float kErrorGain = 0.05F;
constexpr float kPushGain = 0.02F;
constexpr float kPushLeast = 0.02F;
constexpr float kPushMost = 50;
constexpr std::uint32_t kStepsMost = 1U << 24;  // as a float has them
// Of the unit: what is less is no difference.
constexpr float kLossLeast = 1e-7F;
// The power that weighs losses, 16: nearly who leads is followed.
constexpr int kSquarings = 4;
// Below it the power is no normal float any more, and slow.
constexpr float kRatioLeast = 0.1F;
// Of the last horizons, so many mostly: misses that are so many standard
// deviations more than asked for, and a few for the rare ones, are no chance.
constexpr float kJudged = 64;
constexpr float kDeviations = 4;
constexpr float kFew = 2;

/// x ^ (-2 / 3), by Newton: the same on every machine.
double power_minus_two_thirds(double x) {
  double y = 1;
  while (x * x * y * y * y < 1) y *= 1.2;
  for (int i = 0; i < 30; ++i) y *= (4 - x * x * y * y * y) / 3;
  return y;
}

Quad where(Quad value, auto condition) { return condition ? value : Quad{}; }

}  // namespace

MixPlan::MixPlan(std::array<double, 4> shares, std::uint32_t horizon)
    : misses_kept(1 - 1 / (kJudged * static_cast<float>(horizon))) {
  for (std::size_t i = 0; i < shares.size(); ++i) {
    tau[i] = static_cast<float>(shares[i]);
    gain[i] = kGain * static_cast<float>(power_minus_two_thirds(1 - shares[i]));
  }
  const Quad one = quad_of(1);
  const Quad variance = tau * (one - tau);
  regression_gain =
      kRegressionGain / root(2.0F * greater(variance, quad_of(kVarianceLeast)));
  push_gain = kPushGain * root(root(gain / kGain));
  misses_most =
      static_cast<float>(horizon) *
      (kJudged * (one - tau) + kFew + kDeviations * root(kJudged * variance));
}

void ExpertMix::start(float value, float prior) {
  scale_.fill(prior);
  for (Quad& above : above_) above = quad_of(prior);
  above_[static_cast<std::size_t>(Expert::kQuantile)] = quad_of(value + prior);
  above_[static_cast<std::size_t>(Expert::kSeason)] = Quad{};
  above_[static_cast<std::size_t>(Expert::kSeasonPeak)] = Quad{};
  weights_[0] = quad_of(1);
  for (Quad& squares : squares_) squares = quad_of(kSquaresFirst);
}

Quad ExpertMix::regression(const View& view) const {
  Quad told{};
  for (std::size_t i = 0; i < kFeatures; ++i) {
    told += weights_[i] * view.features[i];
  }
  return greater(told * view.unit, Quad{});
}

void ExpertMix::learn(const MixPlan& plan, const View& view, Quad told,
                      PeakSeen seen, float kept) {
  if (steps_ < kStepsMost) ++steps_;
  learn_points(plan, view, seen, kept);
  learn_regression(plan, view, seen, kept);
  const float point = view.points[static_cast<std::size_t>(Expert::kAr)];
  const float error = std::max({seen.least - point, point - seen.most, 0.0F});
  error_ += std::max(kErrorGain, 1 / static_cast<float>(steps_)) *
            (std::max(error, kTiny) - error_);
  const Quad missed = where(quad_of(1), seen.least > told);
  // Where the truth may lie on either side, nothing is to be learned.
  const Quad known = where(quad_of(1), seen.most <= told) + missed;
  const Quad push =
      push_ + plan.push_gain * known * (missed - (1.0F - plan.tau));
  push_ = lesser(greater(push, quad_of(-kPushMost)), quad_of(kPushMost));
  const bool fell_back = any_above(missed_, plan.misses_most);
  missed_ = plan.misses_kept * missed_ + greater(missed, quad_of(kTiny));
  if (!fell_back && any_above(missed_, plan.misses_most)) ++fallbacks_;
}

void ExpertMix::learn_points(const MixPlan& plan, const View& view,
                             PeakSeen seen, float kept) {
  const float steps = static_cast<float>(steps_);
  const Quad gain = greater(plan.gain, quad_of(kHurry / steps));
  const float scale_gain = std::max(kScaleGain, 1 / steps);
  const Quad up = plan.tau;
  const Quad down = 1.0F - plan.tau;
  const Quad none{};
  const Quad tiny = quad_of(kTiny);
  for (std::size_t e = 0; e < view.count; ++e) {
    const float point = view.points[e];
    const Quad told = point + above_[e];
    // The pinball loss; as little as the truth allows, where it is known to lie
    // in between.
    const Quad missed = up * (seen.least - told);
    const Quad spare = down * (told - seen.most);
    loss_[e] = kept * loss_[e] + greater(greater(missed, spare), tiny);
    float& scale = scale_[e];
    const Quad size = greater(above_[e], none - above_[e]);
    const Quad step = gain * (scale + kOfItself * size);
    above_[e] +=
        step * (where(up, seen.least > told) - where(down, seen.most < told));
    const float error = std::max({seen.least - point, point - seen.most, 0.0F});
    const float most = kScaleClip * scale + kScaleShare * seen.most;
    scale += scale_gain * (std::max(std::min(error, most), kTiny) - scale);
  }
}

void ExpertMix::learn_regression(const MixPlan& plan, const View& view,
                                 PeakSeen seen, float kept) {
  const Quad up = plan.tau;
  const Quad down = 1.0F - plan.tau;
  const Quad told = regression(view);
  const Quad missed = up * (seen.least - told);
  const Quad spare = down * (told - seen.most);
  Quad& loss = loss_[static_cast<std::size_t>(Expert::kRegression)];
  loss = kept * loss + greater(greater(missed, spare), quad_of(kTiny));
  const Quad step = plan.regression_gain * (where(up, seen.least > told) -
                                            where(down, seen.most < told));
  // Each feature's steps are measured by its size of late (Duchi, Hazan and
  // Singer, "Adaptive Subgradient Methods", 2011; forgetting).
  for (std::size_t q = 0; q < kFeatures / 4; ++q) {
    Quad feature;
    std::memcpy(&feature, &view.features[4 * q], sizeof(feature));
    squares_[q] = greater(kSquaresKept * squares_[q] + feature * feature,
                          quad_of(kSquaresLeast));
    const Quad size = feature / root(squares_[q]);
    for (std::size_t i = 0; i < 4; ++i) weights_[4 * q + i] += step * size[i];
  }
}

Quad ExpertMix::least_lost(std::size_t points) const {
  Quad lost = loss_[static_cast<std::size_t>(Expert::kRegression)];
  for (std::size_t e = 0; e < points; ++e) lost = lesser(lost, loss_[e]);
  return lost;
}

/// Of the experts that lost least it is 1.
Quad ExpertMix::share(std::size_t expert, Quad least, float little) const {
  Quad share = greater((least + little) / (loss_[expert] + little),
                       quad_of(kRatioLeast));
  for (int i = 0; i < kSquarings; ++i) share *= share;
  return share;
}

Quad ExpertMix::tell(const MixPlan& plan, const View& view, float most) const {
  const Quad least = least_lost(view.count);
  const float little = kLossLeast * view.unit;
  const Quad top = quad_of(most);
  Quad weight =
      share(static_cast<std::size_t>(Expert::kRegression), least, little);
  Quad total = weight * lesser(regression(view), top);
  for (std::size_t e = 0; e < view.count; ++e) {
    const Quad told = greater(view.points[e] + above_[e], Quad{});
    const Quad its = share(e, least, little);
    weight += its;
    total += its * lesser(told, top);
  }
  const float pushed = error_ + kPushLeast * view.unit;
  const Quad floor =
      where(quad_of(view.recent_peak), missed_ > plan.misses_most);
  return greatest_so_far(greater(total / weight + push_ * pushed, floor));
}

std::array<float, kExperts> ExpertMix::weights(const View& view,
                                               std::size_t tau) const {
  const Quad least = least_lost(view.count);
  const float little = kLossLeast * view.unit;
  std::array<float, kExperts> weights{};
  float sum = 0;
  for (std::size_t e = 0; e < kExperts; ++e) {
    const bool tells = e < view.count || e == kPoints;
    weights[e] = tells ? share(e, least, little)[tau] : 0;
    sum += weights[e];
  }
  for (float& weight : weights) weight /= sum;
  return weights;
}

bool ExpertMix::is_sound() const {
  const auto is_figure = [](Quad figure) {
    return all_within(figure, kFigureMost);
  };
  const auto is_size = [](Quad figure) {
    return all_within(greater(figure, Quad{} - figure), kFigureMost);
  };
  const auto is_scale = [](float scale) {
    return scale >= 0 && scale <= kFigureMost;
  };
  return std::ranges::all_of(loss_, is_figure) &&
         std::ranges::all_of(above_, is_size) &&
         std::ranges::all_of(weights_, is_size) &&
         std::ranges::all_of(squares_, is_figure) && is_figure(missed_) &&
         all_within(push_ + kPushMost, 2 * kPushMost) &&
         std::ranges::all_of(scale_, is_scale) && is_scale(error_) &&
         steps_ <= kStepsMost;
}

void ExpertMix::welcome_season() {
  const Quad least = least_lost(kPointsUnseasonal);
  loss_[static_cast<std::size_t>(Expert::kSeason)] = least;
  loss_[static_cast<std::size_t>(Expert::kSeasonPeak)] = least;
}

}  // namespace outrider
