// SPDX-License-Identifier: Apache-2.0
#include "agent/state_json.h"

#include <algorithm>
#include <array>
#include <cstdint>

#include "agent/config_policy.h"
#include "agent/core/seat.h"
#include "agent/dry_run_actuator.h"
#include "agent/knob_value.h"

namespace outrider {
namespace {

constexpr std::array<std::string_view, kThreadClasses> kClassKeys = {
    "vcpu_mcpu", "emulator_mcpu", "iothread_mcpu", "vhost_mcpu"};

std::string_view unit_of(Knob knob) {
  switch (knob) {
    case Knob::kCpuMax:
    case Knob::kVcpuMax:
      return "mcpu";
    case Knob::kCpuMaxBurst:
      return "us";
    case Knob::kCpuWeight:
    case Knob::kCpuIdle:
      return "";
  }
  return "";
}

std::int64_t milliseconds_of(Duration duration) {
  return duration / std::chrono::milliseconds{1};
}

void write_signals(const VmState& vm, Duration tick, JsonText& reply) {
  reply.key("signals")
      .object()
      .member("interval_ns", tick.count())
      .member("missing", vm.missing)
      .member("upper_bound", vm.seen.upper_bound);
  std::int64_t total = 0;
  for (const std::int32_t demand : vm.seen.demand) total += demand;
  reply.key("demand").object().member("total_mcpu", total);
  for (std::size_t i = 0; i < kThreadClasses; ++i) {
    reply.member(kClassKeys[i], vm.seen.demand[i]);
  }
  reply.end()
      .member("usage_mcpu", vm.seen.usage)
      .member("wait_mcpu", vm.seen.wait)
      .member("throttled_mcpu", vm.seen.throttled)
      .end();
}

std::int64_t permille_of(float share) {
  return static_cast<std::int64_t>(1000 * share + 0.5F);
}

/// Who counts most.
std::uint8_t leader_of(const ForecastScore& score) {
  const auto most = std::ranges::max_element(score.weights);
  return static_cast<std::uint8_t>(most - score.weights.begin());
}

void write_score(const Forecast& forecast, const ForecastScore& score,
                 JsonText& reply) {
  reply.member("fallbacks", score.fallbacks).key("weights").array();
  for (std::size_t i = 0; i < kExpertsMax; ++i) {
    const std::int64_t weight = permille_of(score.weights[i]);
    if (weight == 0) continue;
    reply.object()
        .member("expert", expert_name(static_cast<std::uint8_t>(i)))
        .member("permille", weight)
        .end();
  }
  reply.end().key("quantiles").array();
  for (std::size_t i = 0; i < kTaus; ++i) {
    const ForecastScore::Quantile& quantile = score.quantiles[i];
    reply.object()
        .member("permille", kTausPermille[i])
        .member("peak_mcpu", forecast.peak[i].count())
        .member("reached_permille", permille_of(quantile.covered))
        .member("spare_permille", permille_of(quantile.spare))
        .member("loss_permille", permille_of(quantile.loss))
        .end();
  }
  reply.end();
}

void write_forecast(const Forecast& forecast, const ForecastScore& score,
                    const SeriesClock& clock, JsonText& reply) {
  reply.object()
      .member("horizon_ms", milliseconds_of(clock.horizon * clock.step))
      .member("scored", forecast.scored)
      .member("expert", expert_name(leader_of(score)))
      .member("season_ms", milliseconds_of(forecast.season_steps * clock.step));
  write_score(forecast, score, reply);
  reply.end();
}

void write_forecasts(const VmState& vm, const Controller& controller,
                     JsonText& reply) {
  const auto write = [&](const Forecast& forecast, Series series) {
    write_forecast(
        forecast, controller.forecast_score(vm.facts.id, series),
        series_clock(controller.policy(), controller.tick_period(), series),
        reply);
  };
  reply.key("forecasts").array();
  write(vm.soon, Series::kSoon);
  write(vm.ahead, Series::kAhead);
  write(vm.reserve_ahead, Series::kReserve);
  reply.end();
}

void write_rule(const VmState& vm, JsonText& reply) {
  reply.key("rule")
      .object()
      .member("reason", to_text(vm.reason))
      .member("demand_mcpu", vm.demand.count())
      .member("target_mcpu", vm.target.count())
      .member("floor_mcpu", vm.policy.floor.count())
      .member("ceiling_mcpu", vm.policy.ceiling.count())
      .member("quantile_permille", vm.policy.quantile_permille)
      .member("foreseen_mcpu", vm.foreseen.count())
      .member("reserve_mcpu", vm.reserve.count())
      .member("lent_mcpu", vm.lent.count())
      .member("loan_mcpu", vm.loan.count())
      .end();
}

// Of milli-CPU times milliseconds, in CPU milliseconds.
std::uint64_t cpu_ms(std::uint64_t integral) { return integral / 1000; }

void write_shadow(const ShadowStats& stats, JsonText& reply) {
  reply.key("shadow")
      .object()
      .member("granted_full", stats.grants_full)
      .member("granted_partly", stats.grants_partial)
      .member("denied", stats.grants_denied)
      .member("hand_overs", stats.hand_overs)
      .member("edges_unserved", stats.edges_unserved)
      .member("onsets_ready", stats.pre_raised)
      .member("onsets_late", stats.surprised)
      .member("held_cpu_ms", cpu_ms(stats.held))
      .member("wasted_cpu_ms", cpu_ms(stats.wasted))
      .member("used_cpu_ms", cpu_ms(stats.used))
      .member("throttled_cpu_ms", cpu_ms(stats.throttled))
      .member("reactive_short_cpu_ms", cpu_ms(stats.reactive_short))
      .member("writes", stats.writes)
      .end();
}

}  // namespace

void write_state(const VmState& vm, const Controller& controller,
                 JsonText& reply) {
  const auto name = [](auto value, const auto& names) {
    return names[static_cast<std::size_t>(value)];
  };
  reply.member("class", name(vm.policy.vm_class, kVmClassNames))
      .member("mode", name(vm.policy.mode, kModeNames))
      .member("contended", vm.contended)
      .member("let_go", vm.let_go);
  write_signals(vm, controller.tick_period(), reply);
  write_forecasts(vm, controller, reply);
  write_rule(vm, reply);
  write_shadow(vm.stats, reply);
}

void write_action(const Action& action, std::string_view vm, JsonText& reply) {
  reply.object()
      .member("vm", static_cast<std::uint32_t>(action.vm))
      .member("name", vm)
      .member("knob", to_text(action.knob));
  if (action.knob == Knob::kVcpuMax) reply.member("vcpu", action.index);
  reply.member("unit", unit_of(action.knob))
      .member("old", action.old)
      .member("new", action.value)
      .member("reason", to_text(action.reason))
      .end();
}

}  // namespace outrider
