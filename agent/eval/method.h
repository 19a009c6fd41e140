// SPDX-License-Identifier: Apache-2.0
// The seam to the methods that are compared: each names, at each tick, what it
// would allocate for the next one.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace outrider::eval {

/// What a method is told of a series before it begins.
struct SeriesFacts {
  double scale = 0;        // mean of the series: only to place histogram bins
  double capacity = 0;     // infinity where none is known
  std::size_t season = 0;  // ticks; 0: none
};

/// One series under one method, at all settings of its knob at once. Causal: an
/// allocation follows from the values up to now.
class Method {
 public:
  virtual ~Method() = default;

  /// Takes the value of this tick. Shape: an allocation a setting of the knob.
  virtual void step(double value, std::span<double> allocations) = 0;
};

/// A row of the table of methods. The settings of a knob rise in caution.
struct MethodRow {
  std::string name;
  std::vector<double> knob;
  bool needs_season = false;
  std::function<std::unique_ptr<Method>(const SeriesFacts&)> make;
};

/// Ours, and then the published methods that it is held against, in their
/// simplest form; their knobs are swept, as what ships of them is one setting
/// of many.
std::vector<MethodRow> methods();

/// The row of that name; nullptr: none.
const MethodRow* find_method(std::span<const MethodRow> rows,
                             std::string_view name);

}  // namespace outrider::eval
