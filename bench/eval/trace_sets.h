// SPDX-License-Identifier: Apache-2.0
// The folder of real traces, as the sets of series that the published table of
// baselines is made of.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "agent/base/result.h"
#include "agent/eval/series.h"

namespace outrider::bench {

/// A set and where it comes from: sources are weighed alike.
struct TraceSet {
  std::string name;
  std::string source;
  std::function<Result<eval::SeriesSet>(const std::string& folder)> read;
};

std::vector<TraceSet> trace_sets();

/// Reads it, drops series that are 0 throughout, and sets capacities and the
/// warm-up. Errors: a file is missing or malformed; nothing is left.
Result<eval::SeriesSet> load(const TraceSet& set, const std::string& folder);

}  // namespace outrider::bench
