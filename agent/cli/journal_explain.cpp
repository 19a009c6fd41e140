// SPDX-License-Identifier: Apache-2.0
#include "agent/cli/journal_explain.h"

#include <fmt/format.h>

#include <map>
#include <optional>
#include <utility>

#include "agent/cli/ask.h"
#include "agent/cli/journal_source.h"
#include "agent/cli/reply_text.h"
#include "agent/core/journal_replay.h"
#include "agent/core/peak_forecaster.h"
#include "agent/state_json.h"

namespace outrider {
namespace {

/// A setting that was applied, and how long the stages took.
struct Written {
  Action action;
  StageTimes took;
  Instant at{};
};

/// What a replay has seen on its way that the Controller does not keep.
struct Seen {
  std::map<VmId, std::map<std::pair<Knob, std::uint16_t>, Written>> written;

  void note(std::span<const Action> actions, std::span<const Outcome> outcomes,
            const StageTimes& took, Instant at) {
    for (std::size_t i = 0; i < outcomes.size(); ++i) {
      if (outcomes[i].kind != Outcome::Kind::kApplied) continue;
      const Action& action = actions[i];
      written[action.vm][{action.knob, action.index}] = {action, took, at};
    }
  }
  void note(const JournalRecord& record) {
    if (const auto* const* call = std::get_if<const TickCall*>(&record)) {
      const TickCall& tick = **call;
      note(tick.actions, tick.outcomes, tick.took, tick.now);
    }
    if (const auto* const* call = std::get_if<const EdgeCall*>(&record)) {
      const EdgeCall& edge = **call;
      note(edge.actions, edge.outcomes, edge.took, edge.edge.at);
    }
  }
};

std::optional<Instant> time_of(const JournalRecord& record) {
  if (const auto* const* tick = std::get_if<const TickCall*>(&record)) {
    return (*tick)->now;
  }
  if (const auto* const* edge = std::get_if<const EdgeCall*>(&record)) {
    return (*edge)->edge.at;
  }
  return std::nullopt;
}

// The stages of what moved this VM last.
void put_latency(JsonText& json, const StageTimes& took) {
  const auto put_stage = [&json](const char* stage, Duration time) {
    json.object().member("stage", stage).member("ns", time.count()).end();
  };
  json.key("latency").array();
  put_stage("sense", took.sense);
  put_stage("decide", took.decide);
  put_stage("write", took.act);
  json.end();
}

std::string reply_of(const VmState& vm, const Controller& controller,
                     const Seen& seen, std::int64_t wall_ns) {
  std::string out;
  JsonText json{out};
  json.object().member("ok", true).member("schema", 1);
  json.member("at", time_text(wall_ns));
  json.key("vm")
      .object()
      .member("id", std::uint32_t(vm.facts.id))
      .member("name", vm.facts.name)
      .end();
  write_state(vm, controller, json);
  json.key("writes").array();
  const auto written = seen.written.find(vm.facts.id);
  const Written* last = nullptr;
  if (written != seen.written.end()) {
    for (const auto& [knob, each] : written->second) {
      write_action(each.action, vm.facts.name, json);
      if (last == nullptr || each.at >= last->at) last = &each;
    }
  }
  json.end();
  if (last != nullptr) put_latency(json, last->took);
  json.end();
  return out;
}

const VmState* find_vm(const Controller& controller, const std::string& name) {
  for (std::size_t i = 0; i < controller.vm_count(); ++i) {
    const VmState& vm = controller.vm(i);
    const std::string number = std::to_string(std::uint32_t(vm.facts.id));
    if (vm.facts.name == name || vm.facts.uuid == name || number == name) {
      return &vm;
    }
  }
  return nullptr;
}

}  // namespace

int run_explain_at(const ExplainAt& wanted, const CommonOptions& common) {
  const auto at = parse_time(wanted.time);
  if (!at) return complain({kExitUsage, at.error().what});
  auto segments = open_journal(wanted.journal);
  if (segments) segments = since(*std::move(segments), *at);
  if (!segments) return complain(segments.error());
  const JournalSegment& segment = segments->front();
  JournalReplay replay(make_forecaster);
  Seen seen;
  const auto read =
      read_segment(segment, [&](const JournalRecord& record) -> Result<bool> {
        const auto when = time_of(record);
        if (when && wall_of(segment.head, *when) > *at) return false;
        auto taken = replay.take(record);
        if (!taken) return tl::unexpected<Error>(std::move(taken.error()));
        seen.note(record);
        return !replay.difference();
      });
  // What comes before damage is good.
  if (replay.controller() == nullptr) return complain(read.error());
  if (replay.difference()) {
    return complain(
        {kExitError, fmt::format("{}: this version decides "
                                 "otherwise from record {} on: see "
                                 "`outrider replay`",
                                 segment.path, replay.difference()->record)});
  }
  const std::int64_t wall_ns = wall_of(segment.head, replay.now());
  const VmState* vm = find_vm(*replay.controller(), wanted.vm);
  if (vm == nullptr) {
    return complain({kExitError, fmt::format("no VM {} at {}", wanted.vm,
                                             time_text(wall_ns))});
  }
  const std::string reply = reply_of(*vm, *replay.controller(), seen, wall_ns);
  if (common.json) return put(reply + '\n') ? kExitOk : kExitError;
  const Json json{json_loads(reply.c_str(), 0, nullptr)};
  std::string text = fmt::format("at {}", time_text(wall_ns));
  if (wall_ns + 1'000'000'000 < *at) {
    text += ", the last that the journal has before then";
  }
  return put(text + '\n' + explain_text(json.get())) ? kExitOk : kExitError;
}

}  // namespace outrider
