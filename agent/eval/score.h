// SPDX-License-Identifier: Apache-2.0
// How much a method would have allocated in vain, and how often too little.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "agent/eval/method.h"
#include "agent/eval/series.h"

namespace outrider::eval {

/// What a setting of the knob came to, over all scored ticks of a set.
struct Point {
  double knob = 0;
  double violations = 0;  // share of ticks whose value was above the allocation
  double over = 0;        // allocated and not used, in units of what was used
  std::vector<double> violations_of_series{};
};

/// One method on one set. Shape: a point a setting, in the knob's order.
struct Curve {
  std::string method;
  std::vector<Point> points;
  std::size_t scored = 0;  // ticks of all series
  std::size_t series = 0;
};

/// One causal pass over the set. A missing value is taken for the one before
/// it, and not scored; an allocation is cut off at the capacity.
Curve run_method(const MethodRow& row, const SeriesSet& set);

/// `over` at this share of violations, between the two settings next to it.
/// None where the knob does not reach so far.
std::optional<double> over_at(const Curve& curve, double violations);

/// The geometric mean; each group weighs as much as any other, each value as
/// any other of its group. None if there is no value.
std::optional<double> mean_of_groups(
    std::span<const std::vector<double>> groups);

}  // namespace outrider::eval
