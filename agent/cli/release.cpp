// SPDX-License-Identifier: Apache-2.0
// `outrider release`: every knob gets back what it held before outriderd came,
// by outriderd where it answers, else by ourselves.
#include "agent/baseline/release.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>
#include <vector>

#include "agent/cgroup.h"
#include "agent/cli/ask.h"
#include "agent/cli/commands.h"
#include "agent/cli/table.h"
#include "agent/control.h"
#include "agent/log.h"

namespace outrider {
namespace {

struct ReleaseOptions {
  std::string dir = "/run/outrider";
  std::string mount;  // empty: the host's own
  bool dry_run = false;

  RestoreMode mode() const {
    return dry_run ? RestoreMode::kDryRun : RestoreMode::kWrite;
  }
};

/// A knob as it is shown: by whoever released it.
struct ReleaseRow {
  std::string cgroup;
  std::string knob;
  std::string before;
  std::string after;  // empty: not written
  std::string reason;
};

std::string reason_of(const ReleasedKnob& knob) {
  const bool by_xattr = knob.source == ReleaseSource::kXattr;
  switch (knob.outcome) {
    case RestoreOutcome::kRestored:
      return by_xattr ? "marked by an xattr: its baseline"
                      : "holds what we wrote: its baseline";
    case RestoreOutcome::kAlready:
      return "holds its baseline";
    case RestoreOutcome::kForeign:
      return "somebody else has written since: left alone";
    case RestoreOutcome::kGone:
      return "the cgroup is gone";
    case RestoreOutcome::kFailed:
      return fmt::format("FAILED: {}", std::strerror(knob.code));
    case RestoreOutcome::kBad:
      return "the record is torn: left alone";
  }
  return "";
}

ReleaseRow row_of(const ReleasedKnob& knob) {
  const bool is_written = knob.outcome == RestoreOutcome::kRestored;
  return {escaped(knob.cgroup), escaped(knob.attribute), escaped(knob.present),
          is_written ? escaped(knob.baseline) : "", reason_of(knob)};
}

std::string dash_if_empty(const std::string& text) {
  return text.empty() ? "-" : text;
}

std::string release_table(const std::vector<ReleaseRow>& rows,
                          const ReleaseOptions& options) {
  std::vector<std::vector<std::string>> lines = {
      {"CGROUP", "KNOB", "OLD", "NEW", "REASON"}};
  std::size_t written = 0;
  for (const ReleaseRow& row : rows) {
    lines.push_back({dash_if_empty(row.cgroup), dash_if_empty(row.knob),
                     dash_if_empty(row.before), dash_if_empty(row.after),
                     row.reason});
    written += row.after.empty() ? 0 : 1;
  }
  const std::string sum =
      fmt::format("{} of {} knobs {}\n", written, rows.size(),
                  options.dry_run ? "would be put back" : "put back");
  return rows.empty() ? sum : table_text(lines) + sum;
}

std::string release_json(const std::vector<ReleaseRow>& rows,
                         const ReleaseOptions& options) {
  std::string text;
  JsonText json{text};
  json.object().member("ok", true).member("schema", kControlSchema);
  json.member("dry_run", options.dry_run).key("knobs").array();
  for (const ReleaseRow& row : rows) {
    json.object().member("cgroup", row.cgroup).member("knob", row.knob);
    json.member("old", row.before);
    if (!row.after.empty()) json.member("new", row.after);
    json.member("reason", row.reason).end();
  }
  json.end().end();
  return text + '\n';
}

// What outriderd answers has the form of release_json.
int show_answer(const CommonOptions& common, const ReleaseOptions& options,
                const ControlReply& reply) {
  if (common.json) return put(reply.text + '\n') ? kExitOk : kExitError;
  std::vector<ReleaseRow> rows;
  const json_t* knobs = json_object_get(reply.json.get(), "knobs");
  for (std::size_t i = 0; i < json_array_size(knobs); ++i) {
    const json_t* knob = json_array_get(knobs, i);
    rows.push_back({text_at(knob, "cgroup"), text_at(knob, "knob"),
                    text_at(knob, "old"), text_at(knob, "new"),
                    text_at(knob, "reason")});
  }
  return put(release_table(rows, options)) ? kExitOk : kExitError;
}

// By outriderd; nothing when it is not there, does not answer or does not know
// how: then it is up to us.
std::optional<int> ask_daemon(const CommonOptions& common,
                              const ReleaseOptions& options) {
  std::string request;
  JsonText{request}
      .object()
      .member("verb", "release")
      .member("dry_run", options.dry_run)
      .end();
  auto client = ControlClient::connect(common.socket);
  if (!client) return std::nullopt;
  const auto reply = ask(*client, request);
  if (reply) return show_answer(common, options, *reply);
  if (reply.error().code == kExitRefused) return complain(reply.error());
  return std::nullopt;
}

Result<std::string> mount_of(const ReleaseOptions& options) {
  if (!options.mount.empty()) return options.mount;
  auto proc = ProcRoot::open();
  if (!proc) return pass(proc, "release");
  auto tree = open_host_cgroups(*proc);
  if (!tree) return pass(tree, "release");
  return tree->mount();
}

int complain_of(const Error& error, const CommonOptions& common) {
  if (error.code == EWOULDBLOCK) {
    return complain(
        {kExitError,
         fmt::format("{}; it does not release its knobs by {}. Stop it with "
                     "`systemctl stop outriderd`, or kill -9 it: its warden "
                     "puts them back. Then ask again",
                     error.what, common.socket)});
  }
  return complain_of(error);
}

int run_release(const CommonOptions& common, const ReleaseOptions& options) {
  const std::optional<int> answered = ask_daemon(common, options);
  if (answered) return *answered;
  auto mount = mount_of(options);
  if (!mount) return complain_of(mount.error(), common);
  auto knobs = release_all(options.dir, *mount, options.mode());
  if (!knobs) return complain_of(knobs.error(), common);
  std::vector<ReleaseRow> rows;
  bool failed = false;
  for (const ReleasedKnob& knob : *knobs) {
    rows.push_back(row_of(knob));
    failed = failed || knob.outcome == RestoreOutcome::kFailed;
  }
  const bool shown = put(common.json ? release_json(rows, options)
                                     : release_table(rows, options));
  return shown && !failed ? kExitOk : kExitError;
}

}  // namespace

void add_release(const CommandSite& site) {
  auto options = std::make_shared<ReleaseOptions>();
  CLI::App* app = site.parent.add_subcommand(
      "release",
      "give every knob back what it held before outriderd came (root)");
  app->add_flag("--dry-run", options->dry_run,
                "write nothing; say what would be written, and why");
  app->add_option("--dir", options->dir, "where outriderd keeps its table")
      ->capture_default_str();
  app->add_option("--mount", options->mount,
                  "the cgroup v2 tree; default: the host's");
  app->footer(
      "Needs no outriderd: with it dead, what it left in its table and on the\n"
      "cgroups is enough. What somebody else has written since is left alone.");
  app->callback([site, options] {
    site.chosen = [site, options] {
      return run_release(site.common, *options);
    };
  });
}

}  // namespace outrider
