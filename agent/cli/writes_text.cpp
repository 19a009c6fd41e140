// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <vector>

#include "agent/cli/ask.h"
#include "agent/cli/reply_text.h"
#include "agent/cli/table.h"

namespace outrider {
namespace {

std::string knob_text(const json_t* write) {
  const std::string knob = text_at(write, "knob");
  if (json_object_get(write, "vcpu") == nullptr) return knob;
  return fmt::format("{} of vCPU {}", knob, count_at(write, "vcpu"));
}

std::string value_text(const json_t* write, const char* which) {
  const std::int64_t value = count_at(write, which);
  const std::string unit = text_at(write, "unit");
  if (unit == "mcpu") return value < 0 ? "max" : cpus_text(value) + " CPUs";
  return unit.empty() ? std::to_string(value)
                      : fmt::format("{} {}", value, unit);
}

}  // namespace

std::string cpus_text(std::int64_t mcpu, const char* none) {
  if (mcpu < 0) return none;
  return fmt::format("{:.2f}", static_cast<double>(mcpu) / 1000);
}

std::string writes_text(const json_t* writes) {
  if (json_array_size(writes) == 0) return "";
  std::vector<std::vector<std::string>> rows = {
      {"VM", "KNOB", "OLD", "NEW", "REASON"}};
  for (std::size_t i = 0; i < json_array_size(writes); ++i) {
    const json_t* write = json_array_get(writes, i);
    rows.push_back({text_at(write, "name"), knob_text(write),
                    value_text(write, "old"), value_text(write, "new"),
                    text_at(write, "reason")});
  }
  return table_text(rows);
}

std::string dry_run_text(const json_t* reply) {
  const std::string writes = writes_text(json_object_get(reply, "writes"));
  if (writes.empty()) return "dry run: nothing would be written\n";
  return "dry run: this would be written\n" + writes;
}

}  // namespace outrider
