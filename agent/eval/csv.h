// SPDX-License-Identifier: Apache-2.0
// Recorded demand as people have it: CSV.
#pragma once

#include <string>
#include <string_view>

#include "agent/base/result.h"
#include "agent/eval/series.h"

namespace outrider::eval {

/// Lines of numbers, parted by commas, semicolons, tabs or spaces, with or
/// without a line of names before them. A column called t, time or timestamp
/// (with or without a unit, t_us) is the time, and must rise. An empty cell is
/// missing; a gap of n usual distances is n - 1 missing values.
/// Errors: "FILE:LINE:COLUMN: what is wrong": no number, negative, infinite,
/// time that does not rise, too many or too few columns; unless skip_bad.
Result<Trace> parse_csv(std::string_view text, const std::string& file,
                        const TraceOptions& options);

}  // namespace outrider::eval
