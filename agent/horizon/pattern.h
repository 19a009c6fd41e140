// SPDX-License-Identifier: Apache-2.0
// What a history is like: does it repeat itself, rise, or jump?
#pragma once

#include <cstddef>
#include <span>

namespace outrider {

/// The period after which a series repeats, in steps: the first of the highest
/// peaks of its autocorrelation, above what chance gives a series as smooth as
/// it (Bartlett 1946), and seen three times. 0: there is none.
std::size_t find_season(std::span<const double> values);

/// A trend, by Mann (1945) and Kendall.
struct Trend {
  double slope = 0;     // a step: the median of all pairs (Sen 1968)
  bool is_one = false;  // at the 1 % level
};
/// Of at most the last 512 values, evenly picked: it takes their square.
Trend find_trend(std::span<const double> values);

/// Tells values that are out of the ordinary from one forecast to the next.
/// Robust: what is out of the ordinary does not change what is ordinary at
/// once. Invariant: allocates nothing.
class AnomalyDetector {
 public:
  struct Verdict {
    double z = 0;         // deviations that this error is from the middle one
    bool is_odd = false;  // |z| > 5
    int shift = 0;        // the level has moved: up 1, down -1
  };

  /// `error`: value - forecast, in any unit. Not finite: nothing is learned.
  Verdict observe(double error);

 private:
  // Middle and median absolute deviation, followed step by step.
  double middle_ = 0;
  double spread_ = 0;
  // CUSUM (Page 1954) of the clipped z.
  double above_ = 0;
  double below_ = 0;
  std::size_t seen_ = 0;
};

}  // namespace outrider
