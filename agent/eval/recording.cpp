// SPDX-License-Identifier: Apache-2.0
#include "agent/eval/recording.h"

#include <cmath>
#include <limits>
#include <map>
#include <span>
#include <variant>

#include "agent/core/demand.h"
#include "agent/core/record.h"

namespace outrider::eval {
namespace {

constexpr double kMissing = std::numeric_limits<double>::quiet_NaN();
constexpr double kUnbounded = std::numeric_limits<double>::infinity();
constexpr double kTicksMax = 100e6;  // of a clock that jumped

/// Puts one Sample after the other.
class Taker {
 public:
  void take(const CameVm& vm) { names_[vm.id] = vm.name; }
  void take(const WentVm&) {}

  void take(const Sample* sample) {
    const double now =
        std::chrono::duration<double>(sample->taken.time_since_epoch()).count();
    const Demand& demand = series_.update(*sample);
    if (samples_++ == 0) {
      first_ = now;
      return;
    }
    if (period_ == 0) period_ = now - first_;
    const double tick = std::round((now - first_) / period_) - 1;
    if (!(tick >= 0 && tick < kTicksMax)) return;
    for (const VmDemand& vm : demand.vms) {
      auto& values = values_[vm.id];
      values.resize(static_cast<std::size_t>(tick) + 1, kMissing);
      values.back() = static_cast<double>(vm.total.demand.count());
    }
  }

  std::size_t samples() const { return samples_; }

  Trace finish() && {
    Trace trace{.names = {}, .series = {}, .period = period_};
    for (auto& [id, values] : values_) {
      trace.names.push_back(names_[id]);
      trace.series.push_back(
          {.values = std::move(values), .capacity = kUnbounded});
    }
    return trace;
  }

 private:
  DemandSeries series_;
  std::map<VmId, std::string> names_;
  std::map<VmId, std::vector<double>> values_;
  double first_ = 0;
  double period_ = 0;
  std::size_t samples_ = 0;
};

}  // namespace

bool is_recording(std::string_view bytes) {
  return bytes.starts_with("OUTRIDER");
}

Result<Trace> parse_recording(std::string_view bytes, const std::string& file,
                              const TraceOptions& options) {
  RecordReader reader{std::as_bytes(std::span{bytes})};
  Taker taker;
  while (const auto entry = reader.next()) {
    std::visit([&taker](const auto& record) { taker.take(record); }, *entry);
  }
  if (reader.damage() && !options.skip_bad) {
    return fail(0, file + ": damaged at byte " +
                       std::to_string(reader.offset()) + ": " +
                       to_text(*reader.damage()));
  }
  if (taker.samples() < 2) return fail(0, file + ": less than two samples");
  Trace trace = std::move(taker).finish();
  trace.skipped = reader.damage() ? 1 : 0;
  if (trace.series.empty()) return fail(0, file + ": no VM");
  return trace;
}

}  // namespace outrider::eval
