// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <vector>

#include "agent/cli/ask.h"
#include "agent/cli/reply_text.h"
#include "agent/cli/table.h"

namespace outrider {
namespace {

std::string cpus(const json_t* object, const char* name) {
  return cpus_text(count_at(object, name));
}

std::string demand_text(const json_t* vm) {
  const bool upper = json_is_true(json_object_get(vm, "upper_bound"));
  return (upper ? "<=" : "") + cpus(vm, "demand_mcpu");
}

// Why the VM is left alone goes before the rule that would bind.
std::string reason_text(const json_t* vm) {
  if (json_is_true(json_object_get(vm, "contended"))) return "contended";
  if (json_is_true(json_object_get(vm, "let_go"))) return "let go";
  return text_at(vm, "reason");
}

}  // namespace

std::string allocations_text(const json_t* reply) {
  std::vector<std::vector<std::string>> rows = {
      {"VM", "CLASS", "MODE", "DEMAND", "TARGET", "CAP", "RESERVE", "LENT",
       "LOAN", "P50", "P95", "P99", "REASON"}};
  const json_t* vms = json_object_get(reply, "vms");
  std::int64_t target = 0;
  std::int64_t reserve = 0;
  std::int64_t lent = 0;
  for (std::size_t i = 0; i < json_array_size(vms); ++i) {
    const json_t* vm = json_array_get(vms, i);
    target += count_at(vm, "target_mcpu");
    reserve += count_at(vm, "reserve_mcpu");
    lent += count_at(vm, "lent_mcpu");
    rows.push_back(
        {text_at(vm, "name"), text_at(vm, "class"), text_at(vm, "mode"),
         demand_text(vm), cpus(vm, "target_mcpu"), cpus(vm, "applied_mcpu"),
         cpus(vm, "reserve_mcpu"), cpus(vm, "lent_mcpu"), cpus(vm, "loan_mcpu"),
         cpus(vm, "p50_mcpu"), cpus(vm, "p95_mcpu"), cpus(vm, "p99_mcpu"),
         reason_text(vm)});
  }
  return fmt::format(
      "mode {}  {} VMs  target {}  reserve {}, lent {}  of {} CPUs\n{}",
      text_at(reply, "mode"), json_array_size(vms), cpus_text(target),
      cpus_text(reserve), cpus_text(lent), cpus(reply, "capacity_mcpu"),
      table_text(rows));
}

}  // namespace outrider
