// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <vector>

#include "agent/cli/ask.h"
#include "agent/cli/reply_text.h"
#include "agent/cli/table.h"

namespace outrider {
namespace {

using Rows = std::vector<std::vector<std::string>>;

std::string cpus(const json_t* object, const char* name) {
  return cpus_text(count_at(object, name), "max");
}

bool holds(const json_t* object, const char* name) {
  return json_is_true(json_object_get(object, name));
}

std::string percent(std::int64_t permille) {
  return fmt::format("{}.{}", permille / 10, permille % 10);
}

// "12.3 us": stages take from nanoseconds to milliseconds.
std::string short_time(std::int64_t ns) {
  if (ns < 1'000'000)
    return fmt::format("{:.1f} us", static_cast<double>(ns) / 1e3);
  return fmt::format("{:.1f} ms", static_cast<double>(ns) / 1e6);
}

std::string head_text(const json_t* reply) {
  const json_t* vm = json_object_get(reply, "vm");
  std::string out = fmt::format(
      "{}: VM {}, class {}, mode {}\n", text_at(vm, "name"), count_at(vm, "id"),
      text_at(reply, "class"), text_at(reply, "mode"));
  if (holds(reply, "contended"))
    out +=
        "left alone: somebody else writes its knobs; see `outrider vm "
        "release-contention`\n";
  if (holds(reply, "let_go"))
    out += "let go: its baseline is back; see `outrider vm take-up`\n";
  return out;
}

std::string signals_text(const json_t* signals) {
  if (signals == nullptr || holds(signals, "missing"))
    return "\nnothing is seen of it: its limits are held\n";
  const json_t* demand = json_object_get(signals, "demand");
  Rows rows = {{"CPUS", "TOTAL", "VCPU", "EMULATOR", "IOTHREAD", "VHOST"},
               {holds(signals, "upper_bound") ? "demand <=" : "demand"}};
  for (const char* name : {"total_mcpu", "vcpu_mcpu", "emulator_mcpu",
                           "iothread_mcpu", "vhost_mcpu"})
    rows.back().push_back(cpus(demand, name));
  rows.push_back({"usage", cpus(signals, "usage_mcpu")});
  rows.push_back({"wait", cpus(signals, "wait_mcpu")});
  rows.push_back({"throttled", cpus(signals, "throttled_mcpu")});
  return fmt::format("\nseen over {}\n{}",
                     short_time(count_at(signals, "interval_ns")),
                     table_text(rows));
}

// "season 71 %, ar 20 %", as they count in the p95.
std::string weights_text(const json_t* weights) {
  std::string out;
  for (std::size_t i = 0; i < json_array_size(weights); ++i) {
    const json_t* each = json_array_get(weights, i);
    out += fmt::format("{}{} {} %", out.empty() ? "" : ", ",
                       text_at(each, "expert"),
                       percent(count_at(each, "permille")));
  }
  return out;
}

// "season 2000 ms" where one is believed in.
std::string learned_text(const json_t* forecast) {
  const std::int64_t season = count_at(forecast, "season_ms");
  const std::int64_t fallbacks = count_at(forecast, "fallbacks");
  return fmt::format(
      "{}; {} steps scored{}{}",
      weights_text(json_object_get(forecast, "weights")),
      count_at(forecast, "scored"),
      season > 0 ? fmt::format(", season {} ms", season) : "",
      fallbacks > 0 ? fmt::format(", fell back {} times", fallbacks) : "");
}

void add_quantiles(Rows& rows, const json_t* forecast) {
  const json_t* quantiles = json_object_get(forecast, "quantiles");
  const bool scored = count_at(forecast, "scored") > 0;
  for (std::size_t i = 0; i < json_array_size(quantiles); ++i) {
    const json_t* each = json_array_get(quantiles, i);
    rows.push_back({std::to_string(count_at(forecast, "horizon_ms")),
                    percent(count_at(each, "permille")),
                    cpus(each, "peak_mcpu"),
                    scored ? percent(count_at(each, "reached_permille")) : "-",
                    scored ? percent(count_at(each, "spare_permille")) : "-"});
  }
}

std::string forecasts_text(const json_t* forecasts) {
  if (json_array_size(forecasts) == 0) return "\nnothing is predicted yet\n";
  std::string out = "\npeak that is predicted\n";
  Rows rows = {{"HORIZON ms", "QUANTILE %", "CPUS", "REACHED %", "SPARE %"}};
  std::string notes;
  for (std::size_t i = 0; i < json_array_size(forecasts); ++i) {
    const json_t* forecast = json_array_get(forecasts, i);
    add_quantiles(rows, forecast);
    notes += fmt::format("over {} ms: {}\n", count_at(forecast, "horizon_ms"),
                         learned_text(forecast));
  }
  return out + table_text(rows) + notes;
}

std::string outlook_text(const json_t* outlook) {
  if (outlook == nullptr) return "";
  const std::string model = text_at(outlook, "model");
  const std::int64_t slots = count_at(outlook, "slots");
  if (model.empty()) {
    return fmt::format("\nhours ahead: {} times 5 min are known, too few\n",
                       slots);
  }
  const std::int64_t season = count_at(outlook, "season_ms");
  return fmt::format(
      "\nhours ahead: {}{}; {} times 5 min are known\n"
      "  an hour ahead {} upper ends held in {} % (asked for {}); accuracy {} "
      "% (target {}: {})\n"
      "  a peak of {} CPUs within {} s, {}\n",
      model, season > 0 ? fmt::format(", season {} min", season / 60'000) : "",
      slots, count_at(outlook, "judged"),
      percent(count_at(outlook, "coverage_permille")),
      percent(count_at(outlook, "threshold_permille")),
      percent(count_at(outlook, "accuracy_permille")),
      percent(count_at(outlook, "target_permille")),
      holds(outlook, "target_met") ? "met" : "missed",
      cpus(outlook, "peak_mcpu"), count_at(outlook, "lead_time_ms") / 1000,
      holds(outlook, "believed") ? "which the reserve covers"
                                 : "not relied on");
}

std::string rule_text(const json_t* rule) {
  if (rule == nullptr) return "\nnothing is decided yet\n";
  return fmt::format(
      "\ndecided by: {}\n"
      "  demand {}, target {} CPUs; floor {}, ceiling {}; quantile {} %\n"
      "  reserve {} CPUs, of which lent {}; on loan from others {}\n{}",
      text_at(rule, "reason"), cpus(rule, "demand_mcpu"),
      cpus(rule, "target_mcpu"), cpus(rule, "floor_mcpu"),
      cpus(rule, "ceiling_mcpu"), percent(count_at(rule, "quantile_permille")),
      cpus(rule, "reserve_mcpu"), cpus(rule, "lent_mcpu"),
      cpus(rule, "loan_mcpu"),
      count_at(rule, "foreseen_mcpu") > 0
          ? fmt::format("  a peak of {} CPUs is foreseen minutes ahead\n",
                        cpus(rule, "foreseen_mcpu"))
          : "");
}

std::string cpu_seconds(const json_t* object, const char* name) {
  return fmt::format("{:.1f}",
                     static_cast<double>(count_at(object, name)) / 1000);
}

std::string shadow_text(const json_t* shadow) {
  if (shadow == nullptr) return "";
  const std::int64_t handed = count_at(shadow, "hand_overs");
  const std::int64_t ready = count_at(shadow, "onsets_ready");
  return fmt::format(
      "\nits shadow so far\n"
      "  reserves granted in full {}, in part {}, denied {}\n"
      "  handed over at {} of {} edges; ready for {} of {} onsets of demand\n"
      "  held {} CPU s, {} of them unused reserve; used {} CPU s; {} writes\n"
      "  throttled {} CPU s; a reactive loop would have cut off {} CPU s\n",
      count_at(shadow, "granted_full"), count_at(shadow, "granted_partly"),
      count_at(shadow, "denied"), handed,
      handed + count_at(shadow, "edges_unserved"), ready,
      ready + count_at(shadow, "onsets_late"),
      cpu_seconds(shadow, "held_cpu_ms"), cpu_seconds(shadow, "wasted_cpu_ms"),
      cpu_seconds(shadow, "used_cpu_ms"), count_at(shadow, "writes"),
      cpu_seconds(shadow, "throttled_cpu_ms"),
      cpu_seconds(shadow, "reactive_short_cpu_ms"));
}

std::string knobs_text(const json_t* writes) {
  const std::string table = writes_text(writes);
  return table.empty() ? "\nnothing was written\n" : "\nwritten last\n" + table;
}

std::string path_text(const json_t* path) {
  Rows rows = {{"CAP", "WEIGHT", "SHARE %", "BINDS", "CGROUP"}};
  for (std::size_t i = 0; i < json_array_size(path); ++i) {
    const json_t* level = json_array_get(path, i);
    rows.push_back(
        {cpus(level, "cap_mcpu"), std::to_string(count_at(level, "weight")),
         percent(count_at(level, "share_permille")),
         holds(level, "binds") ? "cap" : "", text_at(level, "cgroup")});
  }
  return rows.size() == 1 ? "" : "\nalong its path\n" + table_text(rows);
}

std::string latency_text(const json_t* stages) {
  std::string out;
  for (std::size_t i = 0; i < json_array_size(stages); ++i) {
    const json_t* stage = json_array_get(stages, i);
    out +=
        fmt::format("{}{} {}", i == 0 ? "\ntook " : ", ",
                    text_at(stage, "stage"), short_time(count_at(stage, "ns")));
  }
  return out.empty() ? "" : out + '\n';
}

}  // namespace

std::string explain_text(const json_t* reply) {
  return head_text(reply) + signals_text(json_object_get(reply, "signals")) +
         forecasts_text(json_object_get(reply, "forecasts")) +
         outlook_text(json_object_get(reply, "outlook")) +
         vm_memory_text(json_object_get(reply, "memory")) +
         memory_limits_text(json_object_get(reply, "memory_limits")) +
         rule_text(json_object_get(reply, "rule")) +
         shadow_text(json_object_get(reply, "shadow")) +
         knobs_text(json_object_get(reply, "writes")) +
         path_text(json_object_get(reply, "path")) +
         latency_text(json_object_get(reply, "latency"));
}

}  // namespace outrider
