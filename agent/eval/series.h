// SPDX-License-Identifier: Apache-2.0
// Recorded demand, as a set of series on one even clock.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace outrider::eval {

/// One series. Shape: a value a tick; NaN: missing.
struct Series {
  std::vector<double> values;
  double capacity = 0;  // infinity where none is known; never below the values
};

/// Series of one kind, scored together. `season`: ticks of the season that a
/// method with a fixed one is told, 0: none.
struct SeriesSet {
  std::string name;
  std::vector<Series> series;
  std::size_t season = 0;
  std::size_t warm_up = 0;  // ticks at the beginning that are not scored
};

/// What a file holds. Shape: one series a name. `period`: the usual distance of
/// two values, in the unit of the file's own time; 0: it has none.
struct Trace {
  std::vector<std::string> names;
  std::vector<Series> series;
  double period = 0;
  std::size_t skipped = 0;  // lines, or records, that could not be used
};

struct TraceOptions {
  bool skip_bad = false;  // leave out what cannot be used
};

/// As many as the longest has; the others are missing at the end.
std::size_t ticks_of(const SeriesSet& set);

}  // namespace outrider::eval
