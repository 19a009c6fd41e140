// SPDX-License-Identifier: Apache-2.0
#include "agent/horizon/outlook.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "agent/horizon/pattern.h"

namespace outrider {
namespace {

// Share of what is known of the errors that a new one takes the place of.
constexpr double kForgotten = 0.002;
// Another model is used when it has been better than this one by so much.
constexpr double kBetter = 0.97;
constexpr double kMissGain =
    0.02;  // adaptive conformal (Gibbs and Candes 2021)
constexpr double kMissMin = 0.01;
constexpr double kMissMax = 0.6;
constexpr double kOverlap = 0.5;
constexpr std::size_t kErrorsMin = 8;
constexpr std::size_t kScoredMin = 48;

double finite_or(double value, double other) {
  return std::isfinite(value) ? value : other;
}

/// The ends that leave out a share `miss` of values to come, if those are
/// exchangeable with the sorted ones (split conformal). Errors of forecasts
/// that overlap are not: `unknown`, how many have not come due yet, widens
/// them.
std::pair<double, double> ends_of(const std::vector<double>& sorted,
                                  double miss, std::size_t unknown) {
  const auto count = static_cast<double>(sorted.size());
  const double all = count + 1 + kOverlap * static_cast<double>(unknown);
  const double high = std::min(std::ceil(all * (1 - miss / 2)), count);
  const auto at = [&](double rank) {
    return sorted[static_cast<std::size_t>(std::max(rank, 1.0)) - 1];
  };
  return {at(count + 1 - high), at(high)};
}

}  // namespace

void Outlook::Track::settle(std::size_t step, double value,
                            double miss_wanted) {
  while (!pending.empty() && pending.front().due <= step) {
    const Pending told = pending.front();
    pending.pop_front();
    if (told.due != step) continue;
    const double error = value - told.interval.point;
    errors.push_back(error);
    if (errors.size() > kErrorsKept) errors.pop_front();
    ++count;
    const double all = static_cast<double>(count);
    const double gain = std::max(kForgotten, 1 / all);
    recent_error += gain * (std::abs(error) - recent_error);
    error_sum += std::abs(error);
    value_sum += value;
    if (!told.has_interval) continue;
    const bool is_in =
        value >= told.interval.low && value <= told.interval.high;
    ++judged;
    covered += is_in ? 1 : 0;
    held += value <= told.interval.high ? 1 : 0;
    miss = std::clamp(miss + kMissGain * (miss_wanted - (is_in ? 0 : 1)),
                      kMissMin, kMissMax);
  }
}

void Outlook::Track::tell(std::size_t due, double point) {
  pending.push_back({due, around(point), errors.size() >= kErrorsMin});
}

Interval Outlook::Track::around(double point) const {
  point = std::max(point, 0.0);
  if (errors.size() < kErrorsMin) return {0, point, 2 * point};
  std::vector<double> sorted(errors.begin(), errors.end());
  std::sort(sorted.begin(), sorted.end());
  const auto [low, high] = ends_of(sorted, miss, pending.size());
  return {std::clamp(point + low, 0.0, point), point,
          std::max(point + high, point)};
}

Outlook::Outlook(OutlookOptions options) : options_(std::move(options)) {
  for (const HorizonModelType type : options_.models) {
    models_.push_back(make_horizon_model(type));
  }
  // The mean of one model is that model.
  const std::size_t first = models_.size() > 1 ? models_.size() : 0;
  for (const std::size_t steps : kScoredAhead) {
    distances_.push_back({.steps = steps,
                          .contenders = std::vector<Track>(models_.size() + 1),
                          .used = {},
                          .chosen = first});
    if (steps >= options_.ahead_max) break;
  }
}

void Outlook::settle(double value) {
  const double miss_wanted = 1 - options_.coverage;
  for (Distance& distance : distances_) {
    for (Track& track : distance.contenders) {
      track.settle(step_, value, miss_wanted);
    }
    distance.used.settle(step_, value, miss_wanted);
  }
}

void Outlook::observe(double value) {
  const bool is_missing = std::isnan(value);
  if (is_missing) value = history_.empty() ? 0 : history_.back();
  ++step_;
  history_.push_back(value);
  if (history_.size() > 2 * options_.history_max) {
    history_.erase(history_.begin(),
                   history_.end() - static_cast<long>(options_.history_max));
  }
  if (!is_missing) settle(value);
  if (fitted_at_ > 0) {
    for (const auto& model : models_) model->observe(value);
  }
  const bool is_due = fitted_at_ == 0
                          ? history_.size() >= options_.history_min
                          : step_ - fitted_at_ >= options_.refit_every;
  if (is_due) fit();
  if (fitted_at_ > 0 && step_ % options_.score_every == 0) foresee();
}

void Outlook::fit() {
  const std::size_t kept = std::min(history_.size(), options_.history_max);
  const std::span<const double> values = std::span{history_}.last(kept);
  season_ = find_season(values);
  for (const auto& model : models_) {
    model->fit({.values = values, .season = season_});
  }
  fitted_at_ = step_;
}

/// Each weighs by the inverse of its squared error, as is best for errors that
/// have nothing in common (Bates and Granger 1969).
double Outlook::Distance::combined(std::span<const double> points) const {
  double sum = 0;
  double weights = 0;
  for (std::size_t i = 0; i < points.size(); ++i) {
    const double error = std::max(contenders[i].recent_error, 1e-12);
    sum += points[i] / (error * error);
    weights += 1 / (error * error);
  }
  return sum / weights;
}

void Outlook::Distance::choose() {
  std::size_t best = chosen;
  for (std::size_t i = 0; i < contenders.size(); ++i) {
    if (contenders[i].recent_error < contenders[best].recent_error) best = i;
  }
  const Track& other = contenders[best];
  if (other.count >= kScoredMin &&
      other.recent_error < kBetter * contenders[chosen].recent_error) {
    chosen = best;
  }
}

/// `step` steps from now, of each contender.
std::vector<double> Outlook::points_at(
    const Distance& distance, const std::vector<std::vector<double>>& ahead,
    std::size_t step) const {
  std::vector<double> points;
  for (const std::vector<double>& of_model : ahead) {
    points.push_back(finite_or(of_model[step - 1], history_.back()));
  }
  points.push_back(distance.combined(points));
  return points;
}

std::vector<std::vector<double>> Outlook::look_ahead(std::size_t steps) const {
  std::vector<std::vector<double>> ahead;
  for (const auto& model : models_) {
    model->forecast(ahead.emplace_back(steps));
  }
  return ahead;
}

void Outlook::foresee() {
  const auto ahead = look_ahead(distances_.back().steps);
  for (Distance& distance : distances_) {
    const auto points = points_at(distance, ahead, distance.steps);
    const std::size_t due = step_ + distance.steps;
    distance.choose();
    for (std::size_t k = 0; k < points.size(); ++k) {
      distance.contenders[k].tell(due, points[k]);
    }
    distance.used.tell(due, points[distance.chosen]);
  }
}

std::optional<Interval> Outlook::forecast(std::size_t ahead) const {
  if (fitted_at_ == 0 || ahead == 0) return std::nullopt;
  const auto place =
      std::ranges::lower_bound(distances_, ahead, {}, &Distance::steps);
  const Distance& distance =
      place == distances_.end() ? distances_.back() : *place;
  const auto points = points_at(distance, look_ahead(ahead), ahead);
  return distance.used.around(points[distance.chosen]);
}

HorizonScore Outlook::Track::score(const char* model, std::size_t ahead) const {
  const auto all = static_cast<double>(std::max<std::size_t>(count, 1));
  const auto told = static_cast<double>(std::max<std::size_t>(judged, 1));
  return {.model = model,
          .ahead = ahead,
          .count = count,
          .judged = judged,
          .error = error_sum / all,
          .recent_error = recent_error,
          .mean = value_sum / all,
          .covered = static_cast<double>(covered) / told,
          .held = static_cast<double>(held) / told};
}

std::vector<HorizonScore> Outlook::scores() const {
  std::vector<HorizonScore> scores;
  for (const Distance& distance : distances_) {
    for (std::size_t k = 0; k < distance.contenders.size(); ++k) {
      const char* name = k < models_.size() ? models_[k]->name() : kCombined;
      scores.push_back(distance.contenders[k].score(name, distance.steps));
      scores.back().chosen = k == distance.chosen;
    }
    scores.push_back(distance.used.score(kChosen, distance.steps));
  }
  return scores;
}

}  // namespace outrider
