// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <vector>

#include "agent/eval/score.h"

namespace outrider::bench {

/// What one method came to on each set. Shape: as the sets.
struct MethodResult {
  std::string method;
  std::vector<eval::Curve> curves;  // without points: it was not run there
};

struct Results {
  std::vector<std::string> sets;
  std::vector<std::string> sources;  // of each set
  std::vector<MethodResult> methods;
  std::size_t yardstick = 0;  // the method that all are held against
};

/// Markdown: what each method allocates in vain, in percent of what was used,
/// at this share of violations; the last column is the mean over the sources
/// of the ratio to the yardstick.
std::string over_table(const Results& results, double violations);

/// The same as JSON: {"sets", "methods": {NAME: {"0.05": [a figure a set, null
/// where the knob does not reach so far], ..., "ratio": {"0.05", ...},
/// "missed": {"0.05": [a share a set, at the knob 0.95], ...}}}}.
std::string over_json(const Results& results,
                      std::span<const double> violations);

/// The mean over the sources, and whether each set had a figure.
struct Ratio {
  double value = 0;
  bool is_complete = true;
};
Ratio ratio_to_yardstick(const Results& results, const MethodResult& method,
                         double violations);

}  // namespace outrider::bench
