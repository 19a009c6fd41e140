// SPDX-License-Identifier: Apache-2.0
// `outrider status`: how the daemon is.
#include <fmt/format.h>

#include "agent/cli/ask.h"
#include "agent/cli/commands.h"

namespace outrider {
namespace {

std::string duration_text(std::int64_t ns) {
  const std::int64_t seconds = ns / 1'000'000'000;
  if (seconds < 120) return fmt::format("{} s", seconds);
  const std::int64_t minutes = seconds / 60;
  if (minutes < 120) return fmt::format("{} min", minutes);
  const std::int64_t hours = minutes / 60;
  if (hours < 48) return fmt::format("{} h {} min", hours, minutes % 60);
  return fmt::format("{} d {} h", hours / 24, hours % 24);
}

double percent(std::int64_t part, std::int64_t whole) {
  return whole == 0
             ? 0
             : 100 * static_cast<double>(part) / static_cast<double>(whole);
}

std::string status_text(const json_t* status) {
  const std::int64_t uptime = count_at(status, "uptime_ns");
  std::string out = fmt::format(
      "outriderd {}, mode {}, up {}\n"
      "  sensor   {}\n"
      "  VMs      {}\n"
      "  ticks    {}, {} skipped\n"
      "  edges    {}\n"
      "  lost     {}\n"
      "  its CPU  {:.3f} %\n",
      text_at(status, "version"), text_at(status, "mode"),
      duration_text(uptime), text_at(status, "sensor"), count_at(status, "vms"),
      count_at(status, "ticks"), count_at(status, "ticks_skipped"),
      count_at(status, "edges"), count_at(status, "lost"),
      percent(count_at(status, "own_cpu_ns"), uptime));
  if (const json_t* journal = json_object_get(status, "journal")) {
    out += fmt::format(
        "  journal  {}{}, {:.1f} MB, {} records dropped\n",
        text_at(journal, "directory"),
        json_is_true(json_object_get(journal, "writing")) ? "" : " (paused)",
        static_cast<double>(count_at(journal, "bytes")) / 1e6,
        count_at(journal, "dropped"));
  }
  const json_t* degraded = json_object_get(status, "degraded");
  for (std::size_t i = 0; i < json_array_size(degraded); ++i) {
    const json_t* each = json_array_get(degraded, i);
    out += fmt::format("  degraded: no {}: {}\n", text_at(each, "what"),
                       text_at(each, "cost"));
  }
  return out;
}

int run_status(const CommonOptions& common) {
  const auto reply = ask(common.socket, R"({"verb":"status"})");
  if (!reply) return complain(reply.error());
  const json_t* status = reply->json.get();
  if (!put(common.json ? reply->text + '\n' : status_text(status)))
    return kExitError;
  const bool degraded =
      json_array_size(json_object_get(status, "degraded")) > 0;
  return degraded ? kExitDegraded : kExitOk;
}

int run_config(const CommonOptions& common) {
  const auto reply = ask(common.socket, R"({"verb":"config"})");
  if (!reply) return complain(reply.error());
  // Not text_at: its lines are wanted, and the daemon escaped their values.
  const char* yaml =
      json_string_value(json_object_get(reply->json.get(), "yaml"));
  const bool good =
      put(common.json || yaml == nullptr ? reply->text + '\n' : yaml);
  return good ? kExitOk : kExitError;
}

}  // namespace

void add_status(const CommandSite& site) {
  CLI::App* app = site.parent.add_subcommand(
      "status", "how outriderd is; exit 3 when it is degraded");
  app->callback(
      [site] { site.chosen = [site] { return run_status(site.common); }; });
}

void add_config(const CommandSite& site) {
  CLI::App* app = site.parent.add_subcommand(
      "config", "the configuration in effect, as YAML");
  app->callback(
      [site] { site.chosen = [site] { return run_config(site.common); }; });
}

}  // namespace outrider
