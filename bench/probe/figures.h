// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

namespace outrider::bench {

/// One figure of a run: what was measured, beside the most it may be.
struct Figure {
  std::string name;
  std::string unit;
  double value = 0;
  double low = 0;  // quartiles of the pairs, for how noisy it was
  double high = 0;
  double limit = 0;       // 0: reported only
  bool at_least = false;  // the limit is the least it may be
  std::string yardstick;  // what was measured beside it in the same run

  bool holds() const {
    if (limit == 0) return true;
    return at_least ? value >= limit : value <= limit;
  }
};

/// `values` must not be empty.
inline double quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  const auto last = static_cast<double>(values.size() - 1);
  return values[static_cast<std::size_t>(std::lround(q * last))];
}

inline double median(const std::vector<double>& values) {
  return quantile(values, 0.5);
}

inline Figure figure_of(std::string name, std::string unit,
                        const std::vector<double>& pairs, double limit) {
  Figure figure;
  figure.name = std::move(name);
  figure.unit = std::move(unit);
  figure.value = median(pairs);
  figure.low = quantile(pairs, 0.25);
  figure.high = quantile(pairs, 0.75);
  figure.limit = limit;
  return figure;
}

}  // namespace outrider::bench
