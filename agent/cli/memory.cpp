// SPDX-License-Identifier: Apache-2.0
// `outrider memory`: how memory is kept free ahead of what guests touch.
#include <fmt/format.h>

#include <vector>

#include "agent/cli/ask.h"
#include "agent/cli/commands.h"
#include "agent/cli/reply_text.h"
#include "agent/cli/table.h"

namespace outrider {
namespace {

constexpr const char* kColumns =
    "columns, in MiB:\n"
    "  RESIDENT  of the host's memory, charged to it\n"
    "  USED      by the guest, as it says and the host can believe; - unknown\n"
    "  NEEDED    by the guest over the horizon, and some to spare\n"
    "  IDLE      resident, and not used: what a balloon could free\n"
    "  BALLOON   what its balloon leaves it, of SIZE; - there is none\n"
    "  GROWTH    of the host's memory that is foreseen, and kept free\n"
    "  GUEST     whether it gives: no-balloon, fixed (locked, VFIO or huge\n"
    "            pages), forbidden (by the policy), silent (says nothing of\n"
    "            itself), starting (being learned), willing, asked, unwilling\n"
    "            (did not move: asked again later), short (of memory itself),\n"
    "            migrating, resizing (see `outrider vm resize`)";

std::string mib(const json_t* object, const char* name) {
  return std::to_string(count_at(object, name) >> 20);
}

std::string mib_if(const json_t* object, const char* name, bool is_there) {
  return is_there ? mib(object, name) : "-";
}

bool holds(const json_t* object, const char* name) {
  return json_is_true(json_object_get(object, name));
}

std::string books_text(const json_t* host) {
  if (host == nullptr || holds(host, "missing"))
    return "the host's memory is not seen: nothing is taken\n";
  return fmt::format(
      "available {} of {} MiB; kept free {} for the host, {} for growth; "
      "short of {}, of which {} asked for\n",
      mib(host, "available_bytes"), mib(host, "total_bytes"),
      mib(host, "host_share_bytes"), mib(host, "reserve_bytes"),
      mib(host, "short_of_bytes"), mib(host, "outstanding_bytes"));
}

std::vector<std::string> row(const json_t* vm) {
  const bool has_balloon = count_at(vm, "balloon_bytes") > 0;
  const bool is_known = holds(vm, "used_known");
  return {text_at(vm, "name"),
          text_at(vm, "class"),
          text_at(vm, "mode"),
          mib(vm, "resident_bytes"),
          mib_if(vm, "used_bytes", is_known),
          mib_if(vm, "needed_bytes", is_known),
          mib_if(vm, "idle_bytes", is_known),
          mib_if(vm, "balloon_bytes", has_balloon),
          mib_if(vm, "size_bytes", count_at(vm, "size_bytes") > 0),
          mib(vm, "growth_bytes"),
          text_at(vm, "cooperation"),
          text_at(vm, "qmp")};
}

int run_memory(const CommonOptions& common) {
  const auto reply = ask(common.socket, R"({"verb":"memory"})");
  if (!reply) return complain(reply.error());
  return put(common.json ? reply->text + '\n' : memory_text(reply->json.get()))
             ? kExitOk
             : kExitError;
}

std::string guest_text(const json_t* vm) {
  const json_t* guest = json_object_get(vm, "guest");
  if (guest == nullptr) return "  the guest says nothing of itself\n";
  return fmt::format(
      "  the guest says, {:.1f} s ago: {} of {} MiB available, {} major "
      "faults, "
      "swapped in {}, out {} MiB\n",
      static_cast<double>(count_at(guest, "age_ms")) / 1000,
      mib(guest, "available_bytes"), mib(guest, "total_bytes"),
      count_at(guest, "major_faults"), mib(guest, "swapped_in_bytes"),
      mib(guest, "swapped_out_bytes"));
}

std::string last_text(const json_t* last) {
  if (last == nullptr) return "  its balloon was not set\n";
  const std::string refusal = text_at(last, "refusal");
  return fmt::format("  {} {:.1f} s ago: {} -> {} MiB, for {}{}\n",
                     holds(last, "advice") ? "advised" : "balloon set",
                     static_cast<double>(count_at(last, "ago_ms")) / 1000,
                     mib(last, "old_bytes"), mib(last, "new_bytes"),
                     text_at(last, "reason"),
                     refusal.empty() ? "" : "; refused: " + refusal);
}

}  // namespace

std::string memory_text(const json_t* reply) {
  if (!holds(reply, "watched")) {
    const std::string cannot = text_at(reply, "cannot");
    return cannot.empty()
               ? "memory is not watched: set memory.mode to advise or enforce "
                 "in outrider.yaml\n"
               : "memory is not watched: " + cannot + '\n';
  }
  std::vector<std::vector<std::string>> rows = {
      {"VM", "CLASS", "MODE", "RESIDENT", "USED", "NEEDED", "IDLE", "BALLOON",
       "SIZE", "GROWTH", "GUEST", "QMP"}};
  const json_t* vms = json_object_get(reply, "vms");
  for (std::size_t i = 0; i < json_array_size(vms); ++i) {
    rows.push_back(row(json_array_get(vms, i)));
  }
  return fmt::format("mode {}  {} VMs  ", text_at(reply, "mode"),
                     json_array_size(vms)) +
         books_text(json_object_get(reply, "host")) + table_text(rows);
}

std::string vm_memory_text(const json_t* vm) {
  if (vm == nullptr) return "";
  const std::string what = text_at(vm, "qmp_what");
  const std::string fixed = text_at(vm, "fixed");
  return fmt::format(
             "\nmemory, mode {}: resident {} MiB, swapped {}, growth of {} "
             "foreseen{}\n"
             "  guest {}{}; balloon leaves {} of {} MiB, floor {}; needs {}, "
             "idle {}\n",
             text_at(vm, "mode"), mib(vm, "resident_bytes"),
             mib(vm, "swapped_bytes"), mib(vm, "growth_bytes"),
             holds(vm, "leaks") ? "; it only ever grows, like a leak" : "",
             text_at(vm, "cooperation"), fixed == "no" ? "" : ": " + fixed,
             mib(vm, "balloon_bytes"), mib(vm, "size_bytes"),
             mib(vm, "floor_bytes"), mib(vm, "needed_bytes"),
             mib(vm, "idle_bytes")) +
         guest_text(vm) +
         fmt::format(
             "  asked {} times, in vain {}; short itself {} times; gave "
             "{} MiB\n",
             count_at(vm, "asked"), count_at(vm, "refused"),
             count_at(vm, "distressed"), mib(vm, "taken_bytes")) +
         last_text(json_object_get(vm, "last")) +
         fmt::format("  qmp {}{}\n", text_at(vm, "qmp"),
                     what.empty() ? "" : ": " + what);
}

std::string memory_limits_text(const json_t* limits) {
  // Above any memory it stands for "max".
  constexpr std::int64_t kNoLimit = std::int64_t{1} << 60;
  const auto amount = [](const json_t* limit, const char* name) {
    const std::int64_t bytes = count_at(limit, name);
    return bytes >= kNoLimit ? "max" : std::to_string(bytes >> 20);
  };
  std::vector<std::vector<std::string>> rows = {
      {"KNOB", "OWN MiB", "EFFECTIVE MiB", "BY"}};
  for (std::size_t i = 0; i < json_array_size(limits); ++i) {
    const json_t* limit = json_array_get(limits, i);
    rows.push_back({text_at(limit, "knob"), amount(limit, "own_bytes"),
                    amount(limit, "effective_bytes"),
                    text_at(limit, "binding")});
  }
  return rows.size() == 1 ? "" : "\nlimits of its memory\n" + table_text(rows);
}

void add_memory(const CommandSite& site) {
  CLI::App* app = site.parent.add_subcommand(
      "memory", "what guests hold, need and give, and what is kept free");
  app->footer(kColumns);
  app->callback(
      [site] { site.chosen = [site] { return run_memory(site.common); }; });
}

}  // namespace outrider
