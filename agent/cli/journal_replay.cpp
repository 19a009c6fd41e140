// SPDX-License-Identifier: Apache-2.0
// `outrider replay`: a journal's decisions once more, or under another policy.
#include "agent/core/journal_replay.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "agent/cli/ask.h"
#include "agent/cli/commands.h"
#include "agent/cli/journal_source.h"
#include "agent/cli/table.h"
#include "agent/cli/what_if.h"
#include "agent/config.h"
#include "agent/core/peak_forecaster.h"
#include "agent/log.h"

namespace outrider {
namespace {

struct ReplayOptions {
  std::string path;
  std::string from;
  std::string policy;
};

/// The first difference, and where it is.
struct FoundDifference {
  Difference what;
  std::string path;
  std::int64_t wall_ns = 0;
  std::string vm;
};

/// All segments together.
struct Summary {
  std::size_t segments = 0;
  std::size_t gaps = 0;
  std::uint64_t dropped = 0;
  ReplayCounts counts;
  std::set<std::string> vms;
  std::int64_t begin_ns = 0;
  std::int64_t end_ns = 0;
  std::optional<FoundDifference> difference;
  PolicyTally recorded;  // with --policy
  PolicyTally other;
};

std::string name_of(JournalReplay& replay, VmId id) {
  const VmState* vm = replay.controller()->find(id);
  if (vm == nullptr || vm->facts.name.empty()) {
    return fmt::format("vm-{}", std::uint32_t(id));
  }
  return vm->facts.name;
}

void add_up(JournalReplay& replay, const JournalSegment& segment,
            Summary& summary) {
  const ReplayCounts& counts = replay.counts();
  if (summary.segments++ == 0) summary.begin_ns = segment.head.wall_ns;
  summary.end_ns = wall_of(segment.head, replay.now());
  summary.counts.records += counts.records;
  summary.counts.ticks += counts.ticks;
  summary.counts.edges += counts.edges;
  summary.counts.vm_ticks += counts.vm_ticks;
  summary.counts.writes += counts.writes;
  summary.dropped += summary.segments == 1 ? 0 : segment.head.dropped;
  summary.gaps += replay.ends_in_gap() ? 1 : 0;
  if (replay.controller() == nullptr) return;
  for (const VmId id : replay.vms()) summary.vms.insert(name_of(replay, id));
  if (!replay.difference()) return;
  const Difference& what = *replay.difference();
  summary.difference =
      FoundDifference{.what = what,
                      .path = segment.path,
                      .wall_ns = wall_of(segment.head, what.at),
                      .vm = what.has_vm ? name_of(replay, what.vm) : ""};
}

/// One segment, as it was and, if there is a policy, as it would have been.
class SegmentRun {
 public:
  SegmentRun(const Policy* policy, Summary& summary)
      : policy_(policy), summary_(summary), replay_(make_forecaster) {}

  Result<bool> take(const JournalRecord& record) {
    const bool had_state = replay_.controller() != nullptr;
    if (policy_ != nullptr && had_state) {
      if (const auto* const* tick = std::get_if<const TickCall*>(&record)) {
        summary_.recorded.add(*replay_.controller(), **tick);
        summary_.other.add(what_if_->controller(), **tick);
      }
      auto taken = what_if_->take(record);
      if (!taken) return tl::unexpected<Error>(std::move(taken.error()));
    }
    auto taken = replay_.take(record);
    if (!taken) return tl::unexpected<Error>(std::move(taken.error()));
    if (policy_ != nullptr && !had_state && replay_.controller() != nullptr) {
      auto begun = begin_what_if();
      if (!begun) return tl::unexpected<Error>(std::move(begun.error()));
    }
    return !replay_.difference().has_value();
  }

  void end(const JournalSegment& segment) {
    add_up(replay_, segment, summary_);
    if (what_if_ == nullptr) return;
    summary_.recorded.end(*replay_.controller());
    summary_.other.end(what_if_->controller());
  }

 private:
  Result<> begin_what_if() {
    auto made = WhatIf::make(*replay_.controller(), *policy_);
    if (!made) return tl::unexpected<Error>(std::move(made.error()));
    what_if_ = *std::move(made);
    summary_.recorded.begin(*replay_.controller());
    summary_.other.begin(what_if_->controller());
    return {};
  }

  const Policy* policy_;
  Summary& summary_;
  JournalReplay replay_;
  std::unique_ptr<WhatIf> what_if_;
};

double core_seconds(std::int64_t milli_cpu_us) {
  return static_cast<double>(milli_cpu_us) / 1e9;
}

void put_side(JsonText& json, const char* name, const Tally& tally) {
  json.key(name)
      .object()
      .member("held_mcpu_ms", tally.held / 1000)
      .member("stall_mcpu_ms", tally.stall / 1000)
      .member("writes", tally.writes)
      .end();
}

Tally tally_of(const PolicyTally& all, const std::string& vm) {
  const auto found = all.vms().find(vm);
  return found == all.vms().end() ? Tally{} : found->second;
}

Tally total_of(const PolicyTally& all) {
  Tally total;
  for (const auto& [vm, tally] : all.vms()) {
    total.held += tally.held;
    total.stall += tally.stall;
    total.writes += tally.writes;
  }
  return total;
}

std::string json_of(const Summary& summary, bool has_policy) {
  std::string out;
  JsonText json{out};
  json.object().member("ok", !summary.difference).member("schema", 1);
  json.member("segments", summary.segments)
      .member("records", summary.counts.records)
      .member("ticks", summary.counts.ticks)
      .member("edges", summary.counts.edges)
      .member("vm_ticks", summary.counts.vm_ticks)
      .member("writes", summary.counts.writes)
      .member("vms", summary.vms.size())
      .member("gaps", summary.gaps)
      .member("dropped", summary.dropped)
      .member("begin", time_text(summary.begin_ns))
      .member("end", time_text(summary.end_ns))
      .member("identical", !summary.difference);
  if (summary.difference) {
    const FoundDifference& found = *summary.difference;
    json.key("difference")
        .object()
        .member("file", found.path)
        .member("record", found.what.record)
        .member("at", time_text(found.wall_ns))
        .member("vm", found.vm)
        .member("field", found.what.field)
        .member("journal", found.what.journal)
        .member("now", found.what.now)
        .end();
  }
  if (has_policy) {
    json.key("what_if").array();
    for (const auto& [vm, tally] : summary.recorded.vms()) {
      json.object().member("name", vm);
      put_side(json, "recorded", tally);
      put_side(json, "other", tally_of(summary.other, vm));
      json.end();
    }
    json.end();
  }
  json.end();
  return out + '\n';
}

std::vector<std::string> row_of(const std::string& name, const Tally& was,
                                const Tally& would) {
  const auto three = [](std::int64_t a, std::int64_t b) {
    return fmt::format("{:.3f} -> {:.3f} ({:+.3f})", core_seconds(a),
                       core_seconds(b), core_seconds(b - a));
  };
  return {name, three(was.held, would.held), three(was.stall, would.stall),
          fmt::format("{} -> {}", was.writes, would.writes)};
}

std::string what_if_text(const Summary& summary) {
  std::vector<std::vector<std::string>> rows = {
      {"VM", "HELD core-s", "STALL core-s", "WRITES"}};
  for (const auto& [vm, tally] : summary.recorded.vms()) {
    rows.push_back(row_of(escaped(vm), tally, tally_of(summary.other, vm)));
  }
  rows.push_back(
      row_of("total", total_of(summary.recorded), total_of(summary.other)));
  return "\nas recorded -> under the other policy\n" + table_text(rows) +
         "\nstall is an estimate: demand above the cap. Demand and edges are "
         "as "
         "recorded, under\nthe recorded caps; what guests would have done, and "
         "when edges would have come,\nis not known. Every write is taken to "
         "succeed; each segment begins as recorded.\n";
}

std::string text_of(const Summary& summary) {
  std::string out = fmt::format(
      "{} segments, {} records: {} ticks, {} edges, {} VMs, {} VM-ticks, {} "
      "writes\nfrom {} to {}\n",
      summary.segments, summary.counts.records, summary.counts.ticks,
      summary.counts.edges, summary.vms.size(), summary.counts.vm_ticks,
      summary.counts.writes, time_text(summary.begin_ns),
      time_text(summary.end_ns));
  if (summary.gaps > 0) {
    out += fmt::format(
        "{} gaps, {} records dropped: what came between is not known\n",
        summary.gaps, summary.dropped);
  }
  if (!summary.difference) return out + "identical: yes\n";
  const FoundDifference& found = *summary.difference;
  return out + fmt::format(
                   "identical: no\nfirst difference: {}: record {}, {}{}{}: "
                   "{}: journal {}, now {}\n",
                   found.path, found.what.record, time_text(found.wall_ns),
                   found.vm.empty() ? "" : ", VM ", escaped(found.vm),
                   found.what.field, found.what.journal, found.what.now);
}

int run(const ReplayOptions& options, const CommonOptions& common) {
  Config config;
  if (!options.policy.empty()) {
    auto loaded = load_config(options.policy);
    if (!loaded) return complain({kExitError, loaded.error().what});
    config = *std::move(loaded);
  }
  auto segments = open_journal(options.path);
  if (segments && !options.from.empty()) {
    const auto from = parse_time(options.from);
    if (!from) return complain({kExitUsage, from.error().what});
    segments = since(*std::move(segments), *from);
  }
  if (!segments) return complain(segments.error());
  const bool has_policy = !options.policy.empty();
  Summary summary;
  std::optional<Failure> damage;
  for (const JournalSegment& segment : *segments) {
    SegmentRun segment_run(has_policy ? &config.policy : nullptr, summary);
    auto read = read_segment(segment, [&](const JournalRecord& record) {
      return segment_run.take(record);
    });
    segment_run.end(segment);
    if (!read && !damage) damage = std::move(read.error());
    if (summary.difference) break;
  }
  std::string out =
      common.json ? json_of(summary, has_policy) : text_of(summary);
  if (!common.json && has_policy) out += what_if_text(summary);
  if (!put(out)) return kExitError;
  if (damage) return complain(*damage);
  return summary.difference ? kExitError : kExitOk;
}

}  // namespace

void add_replay(const CommandSite& site) {
  auto options = std::make_shared<ReplayOptions>();
  CLI::App* app = site.parent.add_subcommand(
      "replay", "make a journal's decisions once more, and compare");
  app->add_option("FILE", options->path,
                  "a segment, or the journal's directory")
      ->required();
  app->add_option("--from", options->from,
                  "begin with the segment of that time");
  app->add_option("--policy", options->policy,
                  "what this configuration would have changed");
  app->footer(
      "examples:\n"
      "  outrider replay /var/lib/outrider/journal\n"
      "  outrider replay /var/lib/outrider/journal --from "
      "2026-11-20T16:00:00Z\n"
      "  outrider replay night.journal --policy new.yaml");
  app->callback([site, options] {
    site.chosen = [site, options] { return run(*options, site.common); };
  });
}

}  // namespace outrider
