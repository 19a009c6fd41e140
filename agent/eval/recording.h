// SPDX-License-Identifier: Apache-2.0
// Demand from what `outrider record` has written.
#pragma once

#include <string>
#include <string_view>

#include "agent/base/result.h"
#include "agent/eval/series.h"

namespace outrider::eval {

/// Whether these bytes begin as a recording does.
bool is_recording(std::string_view bytes);

/// A series a VM: its demand in milli-CPU between one Sample and the next.
/// `period` in seconds. Missing: before a VM came and after it went, and where
/// Samples are.
/// Errors: it holds less than two Samples; it is damaged, where; with skip_bad
/// what is before that is used.
Result<Trace> parse_recording(std::string_view bytes, const std::string& file,
                              const TraceOptions& options);

}  // namespace outrider::eval
