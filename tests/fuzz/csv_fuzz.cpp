// SPDX-License-Identifier: Apache-2.0
// Any bytes as a trace: what is read is finite or missing, and not negative;
// every method takes it and names finite allocations.
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "agent/eval/csv.h"
#include "agent/eval/score.h"

namespace outrider::eval {
namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

void check(const Trace& trace) {
  require(trace.names.size() == trace.series.size());
  SeriesSet set{.name = "fuzz", .series = trace.series};
  for (const Series& series : set.series) {
    if (series.values.size() > 2000) return;  // gaps: slow, and nothing new
    for (const double value : series.values) {
      require(std::isnan(value) || (std::isfinite(value) && value >= 0));
    }
  }
  for (const MethodRow& row : methods()) {
    if (row.needs_season) continue;
    for (const Point& point : run_method(row, set).points) {
      require(point.violations >= 0 && point.violations <= 1);
      require(point.over >= 0);
    }
  }
}

}  // namespace
}  // namespace outrider::eval

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data,
                                      std::size_t size) {
  using namespace outrider::eval;
  if (size == 0) return 0;
  const std::string text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const auto trace = parse_csv(text, "fuzz", {.skip_bad = (data[0] & 1) != 0});
  if (trace) check(*trace);
  return 0;
}
