// SPDX-License-Identifier: Apache-2.0
#include "agent/cli/journal_explain.h"

#include <fmt/format.h>

#include <array>
#include <map>
#include <optional>
#include <utility>

#include "agent/cli/ask.h"
#include "agent/cli/journal_source.h"
#include "agent/cli/reply_text.h"
#include "agent/core/forecaster.h"
#include "agent/core/journal_replay.h"
#include "agent/core/peak_forecaster.h"

namespace outrider {
namespace {

constexpr std::array<const char*, kVmClasses> kClasses = {
    "critical", "production", "development", "batch"};
constexpr std::array<const char*, 3> kModes = {"observe", "advise", "enforce"};
constexpr std::array<const char*, kKnobs> kUnits = {"mcpu", "mcpu", "us", "",
                                                    ""};
// By ThreadClass.
constexpr std::array<const char*, kThreadClasses> kDemands = {
    "vcpu_mcpu", "emulator_mcpu", "iothread_mcpu", "vhost_mcpu"};

template <class Names, class Which>
const char* word(const Names& names, Which which) {
  return names[static_cast<std::size_t>(which)];
}

/// A setting that was applied, and how long the stages took.
struct Written {
  Action action;
  StageTimes took;
  Instant at{};
};

/// What a replay has seen on its way that the Controller does not keep.
struct Seen {
  TickCall tick;  // the last one
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
      tick = **call;
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

void put_signals(JsonText& json, const TickCall& tick, VmId vm) {
  const auto input = std::ranges::find(tick.vms, vm, &CpuInput::vm);
  json.key("signals").object();
  json.member("interval_ns", tick.interval.count());
  const bool is_missing = input == tick.vms.end() || input->missing;
  json.member("missing", is_missing);
  if (!is_missing) {
    std::int64_t total = 0;
    for (const std::int32_t demand : input->demand) total += demand;
    json.member("upper_bound", input->upper_bound);
    json.key("demand").object().member("total_mcpu", total);
    for (std::size_t i = 0; i < kThreadClasses; ++i) {
      json.member(kDemands[i], input->demand[i]);
    }
    json.end();
    json.member("usage_mcpu", input->usage)
        .member("wait_mcpu", input->wait)
        .member("throttled_mcpu", input->throttled);
  }
  json.end();
}

void put_forecast(JsonText& json, const Forecast& forecast, Duration horizon) {
  json.object()
      .member("horizon_ms", horizon / std::chrono::milliseconds{1})
      .member("expert", expert_name(forecast.expert))
      .member("scored", forecast.scored);
  json.key("quantiles").array();
  for (std::size_t i = 0; i < kTaus; ++i) {
    json.object()
        .member("permille", kTausPermille[i])
        .member("peak_mcpu", forecast.peak[i].count())
        .member("reached_permille", forecast.coverage_permille[i])
        .end();
  }
  json.end().end();
}

void put_rule(JsonText& json, const VmState& vm) {
  json.key("rule")
      .object()
      .member("reason", to_text(vm.reason))
      .member("demand_mcpu", vm.demand.count())
      .member("target_mcpu", vm.target.count())
      .member("floor_mcpu", vm.policy.floor.count())
      .member("ceiling_mcpu", vm.policy.ceiling.count())
      .member("quantile_permille", vm.policy.quantile_permille)
      .member("reserve_mcpu", vm.reserve.count())
      .member("lent_mcpu", vm.lent.count())
      .member("loan_mcpu", vm.loan.count())
      .end();
}

void put_write(JsonText& json, const VmFacts& vm, const Action& action) {
  json.object()
      .member("vm", std::uint32_t(vm.id))
      .member("name", vm.name)
      .member("knob", to_text(action.knob));
  if (action.knob == Knob::kVcpuMax) json.member("vcpu", action.index);
  json.member("unit", word(kUnits, action.knob))
      .member("old", action.old)
      .member("new", action.value)
      .member("reason", to_text(action.reason))
      .end();
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
  const Policy& policy = controller.policy();
  std::string out;
  JsonText json{out};
  json.object().member("ok", true).member("schema", 1);
  json.member("at", time_text(wall_ns));
  json.key("vm")
      .object()
      .member("id", std::uint32_t(vm.facts.id))
      .member("name", vm.facts.name)
      .end();
  json.member("class", word(kClasses, vm.policy.vm_class))
      .member("mode", word(kModes, vm.policy.mode))
      .member("contended", vm.contended)
      .member("let_go", vm.let_go);
  put_signals(json, seen.tick, vm.facts.id);
  json.key("forecasts").array();
  put_forecast(json, vm.soon, policy.cpu.cap_period);
  put_forecast(json, vm.ahead, policy.shadow.prediction_horizon);
  put_forecast(json, vm.reserve_ahead, policy.shadow.reserve_horizon);
  json.end();
  put_rule(json, vm);
  json.key("writes").array();
  const auto written = seen.written.find(vm.facts.id);
  const Written* last = nullptr;
  if (written != seen.written.end()) {
    for (const auto& [knob, each] : written->second) {
      put_write(json, vm.facts, each.action);
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
