// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <iterator>

#include "agent/cli/view.h"
#include "agent/cli/view_rows.h"
#include "agent/cli/view_text.h"

namespace outrider {
namespace {

/// Empty cells where a VM has none.
std::string thread_cells(const ThreadDemand* thread) {
  if (thread == nullptr) return ",,";
  const std::string vcpu = thread->thread_class == ThreadClass::kVcpu
                               ? fmt::format("{}", thread->vcpu)
                               : std::string();
  return fmt::format("{},{},{}", class_name(thread->thread_class), vcpu,
                     thread->tid);
}

}  // namespace

std::string view_csv_header() {
  std::string out = "time,taken_ns,interval_ns,vm,name,thread_class,vcpu,tid";
  for (const ViewFigure& figure : view_figures()) {
    fmt::format_to(std::back_inserter(out), ",{}", figure.name);
  }
  return out + '\n';
}

std::string view_csv(const View& view, const ViewOptions& options) {
  std::string out;
  for (const ViewRow& row : view_rows(view, options)) {
    fmt::format_to(std::back_inserter(out), "{},{},{},{},{},{}",
                   csv_text(visible_text(view.time)),
                   view.sample.taken.time_since_epoch().count(),
                   view.demand.interval.count(),
                   static_cast<std::uint32_t>(row.vm),
                   csv_text(visible_text(row.name)), thread_cells(row.thread));
    for (const ViewFigure& figure : view_figures()) {
      fmt::format_to(std::back_inserter(out), ",{}", figure.value(row));
    }
    out += '\n';
  }
  return out;
}

}  // namespace outrider
