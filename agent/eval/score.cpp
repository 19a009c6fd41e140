// SPDX-License-Identifier: Apache-2.0
#include "agent/eval/score.h"

#include <algorithm>
#include <cmath>

namespace outrider::eval {
namespace {

/// What the points are made of, and of one series what its share is made of.
struct Tally {
  std::vector<double> violations;
  std::vector<double> over;
  std::size_t scored = 0;
  double used = 0;

  explicit Tally(std::size_t settings) : violations(settings), over(settings) {}

  void add(double value, double capacity, std::span<const double> allocations) {
    // What rounding does is no violation.
    const double tolerance = 1e-9 + 1e-6 * std::abs(value);
    for (std::size_t i = 0; i < allocations.size(); ++i) {
      const double missed = value - std::min(allocations[i], capacity);
      violations[i] += missed > tolerance ? 1 : 0;
      over[i] += std::max(-missed, 0.0);
    }
    ++scored;
    used += value;
  }

  void add(const Tally& other) {
    for (std::size_t i = 0; i < violations.size(); ++i) {
      violations[i] += other.violations[i];
      over[i] += other.over[i];
    }
    scored += other.scored;
    used += other.used;
  }
};

double mean_of(const std::vector<double>& values) {
  double sum = 0;
  std::size_t count = 0;
  for (const double value : values) {
    if (std::isnan(value)) continue;
    sum += value;
    ++count;
  }
  return count == 0 ? 0 : sum / static_cast<double>(count);
}

Tally run_series(const MethodRow& row, const SeriesSet& set,
                 const Series& series) {
  const auto method = row.make({.scale = mean_of(series.values),
                                .capacity = series.capacity,
                                .season = set.season});
  Tally tally{row.knob.size()};
  std::vector<double> allocations(row.knob.size());
  double last = 0;
  for (std::size_t tick = 0; tick < series.values.size(); ++tick) {
    const bool is_there = !std::isnan(series.values[tick]);
    if (is_there) last = series.values[tick];
    if (is_there && tick > 0 && tick >= set.warm_up) {
      tally.add(last, series.capacity, allocations);
    }
    method->step(last, allocations);
    for (double& allocation : allocations) {
      if (std::isfinite(allocation)) continue;
      allocation = std::isfinite(series.capacity) ? series.capacity : last;
    }
  }
  return tally;
}

double share(double some, std::size_t all) {
  return all == 0 ? 0 : some / static_cast<double>(all);
}

}  // namespace

std::size_t ticks_of(const SeriesSet& set) {
  std::size_t most = 0;
  for (const Series& series : set.series) {
    most = std::max(most, series.values.size());
  }
  return most;
}

Curve run_method(const MethodRow& row, const SeriesSet& set) {
  Curve curve{.method = row.name, .points = {}, .scored = 0, .series = 0};
  for (const double knob : row.knob) curve.points.push_back({.knob = knob});
  Tally all{row.knob.size()};
  for (const Series& series : set.series) {
    const Tally tally = run_series(row, set, series);
    if (tally.scored == 0) continue;
    ++curve.series;
    all.add(tally);
    for (std::size_t i = 0; i < curve.points.size(); ++i) {
      curve.points[i].violations_of_series.push_back(
          share(tally.violations[i], tally.scored));
    }
  }
  curve.scored = all.scored;
  for (std::size_t i = 0; i < curve.points.size(); ++i) {
    curve.points[i].violations = share(all.violations[i], all.scored);
    curve.points[i].over = all.used > 0 ? all.over[i] / all.used : 0;
  }
  return curve;
}

std::optional<double> over_at(const Curve& curve, double violations) {
  std::vector<std::pair<double, double>> points;
  for (const Point& point : curve.points) {
    points.emplace_back(point.violations, point.over);
  }
  std::stable_sort(points.begin(), points.end(),
                   [](auto& a, auto& b) { return a.first < b.first; });
  if (points.empty() || violations < points.front().first ||
      violations > points.back().first) {
    return std::nullopt;
  }
  const auto above = std::find_if(
      points.begin(), points.end(),
      [violations](auto& point) { return point.first >= violations; });
  if (above == points.begin() || above->first == violations) {
    return above->second;
  }
  const auto below = above - 1;
  const double way =
      (violations - below->first) / (above->first - below->first);
  return below->second + way * (above->second - below->second);
}

std::optional<double> mean_of_groups(
    std::span<const std::vector<double>> groups) {
  double sum = 0;
  std::size_t count = 0;
  for (const std::vector<double>& group : groups) {
    if (group.empty()) continue;
    double logarithms = 0;
    for (const double value : group) logarithms += std::log(value);
    sum += logarithms / static_cast<double>(group.size());
    ++count;
  }
  if (count == 0) return std::nullopt;
  return std::exp(sum / static_cast<double>(count));
}

}  // namespace outrider::eval
