// SPDX-License-Identifier: Apache-2.0
// The models of the long horizon, on the sets that have a value in 5 minutes.
#pragma once

#include <map>
#include <string>

#include "agent/eval/series.h"

namespace outrider::bench {

/// One model on one set at one distance.
struct OutlookScore {
  double error = 0;    // mean absolute, in units of the set's mean demand
  double covered = 0;  // share of the values within the 80 % interval
};

/// By steps ahead, then by the model's name.
using OutlookScores =
    std::map<std::size_t, std::map<std::string, OutlookScore>>;

/// One causal pass; each series weighs by its forecasts that came due.
OutlookScores run_outlooks(const eval::SeriesSet& set);

/// Markdown. Shape: a row a set, a column a model: its error relative to the
/// seasonal naive one's, and in brackets what its intervals cover, in %.
std::string outlook_table(const std::map<std::string, OutlookScores>& by_set,
                          std::size_t ahead);

/// {SET: {STEPS AHEAD: {MODEL: {"error", "covered"}}}}
std::string outlook_json(const std::map<std::string, OutlookScores>& by_set);

}  // namespace outrider::bench
