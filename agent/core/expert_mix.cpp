// SPDX-License-Identifier: Apache-2.0
#include "agent/core/expert_mix.h"

#include <algorithm>
#include <numeric>

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
constexpr float kFeatureMost = 20;
// In the second quad of features: the last one, and that of a season.
constexpr std::size_t kConstantAt = 1;
constexpr std::size_t kMeanNextAt = 2;
// 0.3, and 1 for the long mean, in units of which all are. Without a season one
// more for the mean of the periods: features that are alike learn as one does
// that is as much as they are together.
constexpr float kConstantSeasonal = 1.3F;
constexpr float kConstant = 2.3F;
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

constexpr float square(float x) { return x * x; }

/// x ^ (-2 / 3), by Newton: the same on every machine.
double power_minus_two_thirds(double x) {
  double y = 1;
  while (x * x * y * y * y < 1) y *= 1.2;
  for (int i = 0; i < 30; ++i) y *= (4 - x * x * y * y * y) / 3;
  return y;
}

Quad where(Quad value, auto condition) { return condition ? value : Quad{}; }

/// How fast points are learned from a peak.
struct Pace {
  Quad up;
  Quad down;
  Quad gain;
  float scale_gain;
  float kept;
};

/// What one expert was wrong by.
struct PointErrors {
  Quad& loss;
  Quad& above;
  float& scale;
};

void learn_point(const Pace& pace, PeakSeen seen, float point,
                 PointErrors errors) {
  const auto& [loss, above, scale] = errors;
  const Quad told = point + above;
  // The pinball loss; as little as the truth allows, where it is known to lie
  // in between.
  const Quad missed = pace.up * (seen.least - told);
  const Quad spare = pace.down * (told - seen.most);
  loss = pace.kept * loss + greater(greater(missed, spare), quad_of(kTiny));
  const Quad size = greater(above, Quad{} - above);
  const Quad step = pace.gain * (scale + kOfItself * size);
  above += step * (where(pace.up, seen.least > told) -
                   where(pace.down, seen.most < told));
  const float error = std::max({seen.least - point, point - seen.most, 0.0F});
  const float most = kScaleClip * scale + kScaleShare * seen.most;
  scale += pace.scale_gain * (std::max(std::min(error, most), kTiny) - scale);
}

/// Of the experts that lost least it is 1.
Quad share(Quad loss, Quad least, float little) {
  Quad share =
      greater((least + little) / (loss + little), quad_of(kRatioLeast));
  for (int i = 0; i < kSquarings; ++i) share *= share;
  return share;
}

bool is_figure(Quad figure) { return all_within(figure, kFigureMost); }
bool is_size(Quad figure) {
  return is_figure(greater(figure, Quad{} - figure));
}
bool is_scale(float scale) { return scale >= 0 && scale <= kFigureMost; }

}  // namespace

static_assert(sizeof(SeasonMix) == 5 * sizeof(Quad) + 2 * 4 + 8);
static_assert(sizeof(ExpertMix) ==
              21 * sizeof(Quad) + 8 * 4 + sizeof(SeasonMix));

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
  season_.scale.fill(prior);
  for (Quad& above : above_) above = quad_of(prior);
  above_[static_cast<std::size_t>(Expert::kQuantile)] = quad_of(value + prior);
  weights_[0] = quad_of(1);
  for (Quad& squares : squares_) squares = quad_of(kSquaresFirst);
}

void ExpertMix::learn(const MixPlan& plan, const Grounds& grounds, Quad told,
                      PeakSeen seen, float kept) {
  if (steps_ < kStepsMost) ++steps_;
  learn_points(plan, grounds, seen, kept);
  learn_regression(plan, grounds, seen, kept);
  const float point = grounds.view.point(static_cast<std::size_t>(Expert::kAr));
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

void ExpertMix::learn_points(const MixPlan& plan, const Grounds& grounds,
                             PeakSeen seen, float kept) {
  const float steps = static_cast<float>(steps_);
  const Pace pace = {.up = plan.tau,
                     .down = 1.0F - plan.tau,
                     .gain = greater(plan.gain, quad_of(kHurry / steps)),
                     .scale_gain = std::max(kScaleGain, 1 / steps),
                     .kept = kept};
  for (std::size_t e = 0; e < kPointsUnseasonal; ++e) {
    learn_point(pace, seen, grounds.view.point(e),
                {loss_[e], above_[e], scale_[e]});
  }
  if (grounds.season == nullptr) return;
  for (std::size_t e = 0; e < kPointsSeasonal; ++e) {
    learn_point(pace, seen, grounds.season->points[e],
                {season_.loss[e], season_.above[e], season_.scale[e]});
  }
}

ExpertMix::Features ExpertMix::features(const Grounds& grounds) {
  const View& view = grounds.view;
  const SeasonView* season = grounds.season;
  const bool seasonal = season != nullptr;
  const float constant = seasonal ? kConstantSeasonal : kConstant;
  const Features figures = {
      Quad{view.last, seasonal ? season->expected : view.before,
           view.point(static_cast<std::size_t>(Expert::kEwma)),
           view.recent_peak},
      Quad{seasonal ? season->peak_next : view.turbulence, constant * view.unit,
           seasonal ? season->mean_next : 0, 0}};
  const Quad by_unit = quad_of(1 / view.unit);
  const Quad most = quad_of(kFeatureMost);
  return {lesser(figures[0] * by_unit, most),
          lesser(figures[1] * by_unit, most)};
}

Quad ExpertMix::regression(const Grounds& grounds,
                           const Features& features) const {
  Quad told{};
  for (std::size_t i = 0; i < kFeatures; ++i) {
    told += weights_[i] * features[i / 4][i % 4];
  }
  if (grounds.season != nullptr) {
    told += season_.weight * features[1][kMeanNextAt];
  }
  return greater(told * grounds.view.unit, Quad{});
}

void ExpertMix::learn_regression(const MixPlan& plan, const Grounds& grounds,
                                 PeakSeen seen, float kept) {
  const Quad up = plan.tau;
  const Quad down = 1.0F - plan.tau;
  const Features known = features(grounds);
  const Quad told = regression(grounds, known);
  const Quad missed = up * (seen.least - told);
  const Quad spare = down * (told - seen.most);
  regression_loss_ =
      kept * regression_loss_ + greater(greater(missed, spare), quad_of(kTiny));
  const Quad step = plan.regression_gain * (where(up, seen.least > told) -
                                            where(down, seen.most < told));
  // Each feature's steps are measured by its size of late (Duchi, Hazan and
  // Singer, "Adaptive Subgradient Methods", 2011; forgetting).
  Features sizes;
  for (std::size_t q = 0; q < 2; ++q) {
    squares_[q] = greater(kSquaresKept * squares_[q] + known[q] * known[q],
                          quad_of(kSquaresLeast));
    sizes[q] = known[q] / root(squares_[q]);
  }
  for (std::size_t i = 0; i < kFeatures; ++i) {
    weights_[i] += step * sizes[i / 4][i % 4];
  }
  if (grounds.season != nullptr) season_.weight += step * sizes[1][kMeanNextAt];
}

Quad ExpertMix::least_lost(const SeasonView* season) const {
  Quad lost = regression_loss_;
  for (const Quad& loss : loss_) lost = lesser(lost, loss);
  if (season == nullptr) return lost;
  for (const Quad& loss : season_.loss) lost = lesser(lost, loss);
  return lost;
}

Quad ExpertMix::tell(const MixPlan& plan, const Grounds& grounds,
                     float most) const {
  const View& view = grounds.view;
  const Quad least = least_lost(grounds.season);
  const float little = kLossLeast * view.unit;
  const Quad top = quad_of(most);
  Quad weight{};
  Quad total{};
  const auto add = [&](Quad loss, Quad told) {
    const Quad its = share(loss, least, little);
    weight += its;
    total += its * lesser(told, top);
  };
  add(regression_loss_, regression(grounds, features(grounds)));
  for (std::size_t e = 0; e < kPointsUnseasonal; ++e) {
    add(loss_[e], greater(view.point(e) + above_[e], Quad{}));
  }
  if (grounds.season != nullptr) {
    for (std::size_t e = 0; e < kPointsSeasonal; ++e) {
      const Quad told = grounds.season->points[e] + season_.above[e];
      add(season_.loss[e], greater(told, Quad{}));
    }
  }
  const float pushed = error_ + kPushLeast * view.unit;
  const Quad floor =
      where(quad_of(view.recent_peak), missed_ > plan.misses_most);
  return greatest_so_far(greater(total / weight + push_ * pushed, floor));
}

std::array<float, kExperts> ExpertMix::weights(const Grounds& grounds,
                                               std::size_t tau) const {
  const Quad least = least_lost(grounds.season);
  const float little = kLossLeast * grounds.view.unit;
  std::array<float, kExperts> weights{};
  const auto weigh = [&](std::size_t expert, Quad loss) {
    weights[expert] = share(loss, least, little)[tau];
  };
  for (std::size_t e = 0; e < kPointsUnseasonal; ++e) weigh(e, loss_[e]);
  if (grounds.season != nullptr) {
    for (std::size_t e = 0; e < kPointsSeasonal; ++e) {
      weigh(kPointsUnseasonal + e, season_.loss[e]);
    }
  }
  weigh(static_cast<std::size_t>(Expert::kRegression), regression_loss_);
  const float sum = std::accumulate(weights.begin(), weights.end(), 0.0F);
  for (float& weight : weights) weight /= sum;
  return weights;
}

bool SeasonMix::is_sound() const {
  return std::ranges::all_of(loss, is_figure) &&
         std::ranges::all_of(above, is_size) && is_size(weight) &&
         std::ranges::all_of(scale, is_scale);
}

bool ExpertMix::is_sound() const {
  return std::ranges::all_of(loss_, is_figure) && is_figure(regression_loss_) &&
         std::ranges::all_of(above_, is_size) &&
         std::ranges::all_of(weights_, is_size) &&
         std::ranges::all_of(squares_, is_figure) && is_figure(missed_) &&
         all_within(push_ + kPushMost, 2 * kPushMost) &&
         std::ranges::all_of(scale_, is_scale) && is_scale(error_) &&
         steps_ <= kStepsMost && season_.is_sound();
}

void ExpertMix::welcome_season() {
  const Quad least = least_lost(nullptr);
  for (Quad& loss : season_.loss) loss = least;
  season_.weight = weights_[kFeatures - 1];
  squares_[1][kMeanNextAt] = squares_[1][kConstantAt] / square(kConstant);
  squares_[1][kConstantAt] *= square(kConstantSeasonal / kConstant);
}

void ExpertMix::dismiss_season() {
  Quad& weight = weights_[kFeatures - 1];
  weight = (kConstantSeasonal * weight + season_.weight) / kConstant;
  squares_[1][kConstantAt] *= square(kConstant / kConstantSeasonal);
}

}  // namespace outrider
