// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <iterator>

#include "agent/cli/view.h"
#include "agent/cli/view_rows.h"
#include "agent/cli/view_text.h"

namespace outrider {
namespace {

constexpr int kSchema = 1;

void append_figures(const ViewRow& row, std::string& out) {
  for (const ViewFigure& figure : view_figures()) {
    if (figure.name == "upper_bound") {
      fmt::format_to(std::back_inserter(out), ",\"upper_bound\":{}",
                     row.upper_bound);
      continue;
    }
    fmt::format_to(std::back_inserter(out), ",\"{}\":{}", figure.name,
                   figure.value(row));
  }
}

void append_vm(const ViewRow& row, std::string& out) {
  fmt::format_to(std::back_inserter(out), "{{\"vm\":{},\"name\":{}",
                 static_cast<std::uint32_t>(row.vm), json_text(row.name));
  append_figures(row, out);
}

void append_thread(const ViewRow& row, std::string& out) {
  const ThreadDemand& thread = *row.thread;
  fmt::format_to(std::back_inserter(out), "{{\"thread_class\":\"{}\"",
                 class_name(thread.thread_class));
  if (thread.thread_class == ThreadClass::kVcpu) {
    fmt::format_to(std::back_inserter(out), ",\"vcpu\":{}", thread.vcpu);
  }
  fmt::format_to(std::back_inserter(out), ",\"tid\":{}", thread.tid);
  append_figures(row, out);
  out += '}';
}

}  // namespace

std::string view_json(const View& view, const ViewOptions& options) {
  std::string out = fmt::format(
      "{{\"schema\":{},\"time\":{},\"taken_ns\":{},\"interval_ns\":{},"
      "\"lost\":{},\"vms\":[",
      kSchema, json_text(view.time),
      view.sample.taken.time_since_epoch().count(),
      view.demand.interval.count(), view.sample.lost);
  const bool shown = options.threads == ViewOptions::Threads::kShown;
  const char* close = "";  // what the VM before still needs
  const char* comma = "";  // between threads
  for (const ViewRow& row : view_rows(view, options)) {
    if (row.thread != nullptr) {
      out += comma;
      append_thread(row, out);
      comma = ",";
      continue;
    }
    out += close;
    append_vm(row, out);
    if (shown) out += ",\"threads\":[";
    comma = "";
    close = shown ? "]}," : "},";
  }
  if (!view.demand.vms.empty()) out += shown ? "]}" : "}";
  return out + "]}\n";
}

}  // namespace outrider
