// SPDX-License-Identifier: Apache-2.0
// What a Seat learns of its VM, and what follows that it asks for.
#include <algorithm>

#include "agent/base/prefetch.h"
#include "agent/core/seat.h"
#include "agent/core/seat_band.h"

namespace outrider {
namespace {

using std::chrono::milliseconds;

// Overhead is kept in 1/256 milli-CPU; its peak fades by 1/256 a tick, so at
// 20 ms half of it is forgotten in 3.5 s.
constexpr std::int64_t kFine = 256;

// What is foreseen for the prediction horizon is taken in one step once so much
// of it is needed.
constexpr std::int64_t kRampPermille = 100;
// Times as long is waited before a cap comes down of which half is needed
// still.
constexpr int kPartPatience = 4;

}  // namespace

bool Seat::ponder(SeasonSearch& search, std::size_t i) {
  LikelyPeriod likely;
  if (i + 1 < kSeries) likely = series_[i].period_of(series_[i + 1]);
  return series_[i].forecaster().ponder(search, likely);
}

void Seat::prefetch() const { prefetch_lines(this, sizeof(Seat)); }

MilliCpus Seat::overhead() const {
  std::int64_t sum = 0;
  for (const std::int64_t peak : peak_) sum += peak;
  return MilliCpus{(sum + kFine - 1) / kFine};
}

void Seat::learn_overhead(const CpuInput& input) {
  for (std::size_t i = 0; i < kThreadClasses; ++i) {
    if (i == static_cast<std::size_t>(ThreadClass::kVcpu)) continue;
    const std::int64_t now = std::max(input.demand[i], 0) * kFine;
    level_[i] += (now - level_[i]) / 4;
    peak_[i] = std::max(level_[i], peak_[i] - peak_[i] / kFine);
  }
}

void Seat::refresh_forecasts() {
  state.soon = series_[0].forecaster().forecast();
  state.ahead = series_[1].forecaster().forecast();
  state.reserve_ahead = series_[2].forecaster().forecast();
}

// An onset: demand that doubled within a tick, by a tenth of a CPU at least.
void Seat::note_onset(MilliCpus before) {
  const MilliCpus now = state.demand;
  if (now.count() < 2 * before.count() || now - before < MilliCpus{100}) return;
  const bool is_ready = state.applied == kNoCap || state.applied >= now;
  ++(is_ready ? state.stats.pre_raised : state.stats.surprised);
}

// While a busy period is open, what the vCPUs waited may prove to be delay;
// what they ran is certain. Usage is of all threads.
MilliCpus Seat::certain_of(const CpuInput& input, MilliCpus demand) {
  if (!input.upper_bound) return demand;
  std::int64_t ran = input.usage;
  for (std::size_t i = 0; i < kThreadClasses; ++i) {
    if (i != static_cast<std::size_t>(ThreadClass::kVcpu)) {
      ran -= input.demand[i];
    }
  }
  return std::clamp(MilliCpus{ran}, std::min(MilliCpus{}, demand), demand);
}

void Seat::sense(const Rules& rules, const CpuInput* input, Duration interval,
                 std::uint32_t steps) {
  state.missing = input == nullptr || input->missing;
  Observation now{.missing = true};
  if (!state.missing) {
    constexpr auto kVcpu = static_cast<std::size_t>(ThreadClass::kVcpu);
    const MilliCpus before = state.demand;
    state.seen = *input;
    learn_overhead(*input);
    const MilliCpus demand{input->demand[kVcpu] - input->overcounted};
    window_.add(demand, certain_of(*input, demand), interval,
                rules.policy.cpu.cap_period);
    state.demand = window_.adequate();
    note_onset(before);
    edge_peaks_.add(state.demand, interval);
    now = {.value = state.demand, .least = window_.certain()};
    const auto ms = static_cast<std::uint64_t>(interval / milliseconds{1});
    const auto throttled =
        static_cast<std::uint64_t>(std::max(input->throttled, 0));
    const MilliCpus cut = twin_.add(window_.certain(), interval);
    state.stats.throttled += throttled * ms;
    state.stats.reactive_short += static_cast<std::uint64_t>(cut.count()) * ms;
    const std::int64_t spent = std::max(input->usage, 0);
    state.stats.used += static_cast<std::uint64_t>(spent) * ms;
  }
  if (series_[0].observe(now, steps)) {
    state.soon = series_[0].forecaster().forecast();
  }
  if (series_[1].observe(now, steps)) {
    state.ahead = series_[1].forecaster().forecast();
  }
  if (series_[2].observe(now, steps)) {
    state.reserve_ahead = series_[2].forecaster().forecast();
  }
}

/// The least quantile that is tracked and not below what is asked for.
MilliCpus Seat::quantile(const Rules& rules, const Forecast& forecast,
                         std::int64_t permille) const {
  if (!rules.policy.shadow.forecast) return state.demand;
  std::size_t i = 0;
  while (i + 1 < kTaus && kTausPermille[i] < permille) ++i;
  return forecast.peak[i];
}

MilliCpus Seat::need_now(const Rules& rules) const {
  const ShadowPolicy& shadow = rules.policy.shadow;
  switch (shadow.scaling) {
    case ScalingPolicy::kFixed:
      return state.demand + shadow.fixed_extra;
    case ScalingPolicy::kProportional:
      return share_of(quantile(rules, state.soon, 500), shadow.factor_permille);
    case ScalingPolicy::kQuantile:
    case ScalingPolicy::kCost:
      return quantile(rules, state.soon, cap_quantile(rules));
  }
  return state.demand;
}

// Edges cost two writes each: who is in debt for them holds a higher quantile
// itself, up to what all of the reserve would make it.
std::int64_t Seat::cap_quantile(const Rules& rules) const {
  const ShadowPolicy& shadow = rules.policy.shadow;
  const std::int64_t most = shadow.scaling == ScalingPolicy::kCost
                                ? state.policy.quantile_permille
                                : shadow.quantile_permille;
  auto place = std::ranges::lower_bound(kTausPermille,
                                        rules.policy.cpu.cap_quantile_permille);
  const auto steps =
      std::min<std::ptrdiff_t>(restraint() - 1, kTausPermille.end() - place);
  place += steps;
  return std::min(most, place == kTausPermille.end() ? most : *place);
}

MilliCpus Seat::reserve_now(const Rules& rules, MilliCpus need) const {
  const ShadowPolicy& shadow = rules.policy.shadow;
  const auto peak_at = [&](std::int64_t permille) {
    return std::max(quantile(rules, state.ahead, permille),
                    quantile(rules, state.reserve_ahead, permille));
  };
  MilliCpus peak;
  switch (shadow.scaling) {
    case ScalingPolicy::kFixed:
      peak = need + shadow.fixed_extra;
      break;
    case ScalingPolicy::kProportional:
      peak = share_of(peak_at(500), shadow.factor_permille);
      break;
    case ScalingPolicy::kQuantile:
      peak = peak_at(shadow.quantile_permille);
      break;
    case ScalingPolicy::kCost:
      peak = peak_at(state.policy.quantile_permille);
      break;
  }
  if (shadow.forecast) peak = std::max(peak, state.foreseen);
  const MilliCpus delta = peak + overhead() - need;
  const bool is_worth_it = delta >= shadow.pre_allocation_threshold;
  return std::max(shadow.base, is_worth_it ? delta : MilliCpus{});
}

// As likely as not, within the prediction horizon.
MilliCpus Seat::soon_needed(const Rules& rules) const {
  return std::min(quantile(rules, state.ahead, 500) + overhead(),
                  state.policy.ceiling);
}

// What it is to keep although it needs less now: lowering waits until the cap
// has not been needed for a while, until the near future does not need it
// either, and until the kernel's bucket may be refilled once more.
MilliCpus Seat::held_back(const Rules& rules, Instant now,
                          MilliCpus need_before) {
  const CpuPolicy& cpu = rules.policy.cpu;
  recent_.add(need_, now, cpu.lower_after);
  const bool is_falling = need_ + cpu.dead_band < need_before;
  if (!is_falling) steady_at_ = now;
  if (state.applied == kNoCap) return {};
  const MilliCpus band = band_of(cpu, state.applied);
  if (std::max(need_, soon_needed(rules)) + band >= state.applied) {
    needed_last_ = now;
    return state.applied;
  }
  // By then the demand window's tail is out of what is remembered.
  Duration patience = cpu.lower_after * 9 / 8 + cpu.cap_period;
  // The demand of a cap period goes down over a whole one: where it stops is
  // not known before.
  if (is_falling && now - steady_at_ <= cpu.cap_period) return state.applied;
  const MilliCpus recently = recent_.most();
  // Room for small changes, where these would soon cost more than it has.
  const MilliCpus room = is_thrifty() ? band_of(cpu, recently) : MilliCpus{};
  const MilliCpus wanted = recently + room;
  const MilliCpus lowered = std::max(
      {wanted, state.applied - share_of(state.applied, cpu.lower_step_permille),
       state.policy.floor});
  if (lowered + band > state.applied) return state.applied;
  // Where half of it is needed still, what is needed next will be known better:
  // a burst ends, or goes on. One write instead of two.
  if (2 * wanted.count() > state.applied.count()) patience *= kPartPatience;
  if (now - needed_last_ < patience) return state.applied;
  if (!may_write(rules, now, kLowerCost)) return state.applied;
  return lowered;
}

// Where a raise is due, as much as the near future is to need: the demand of
// one cap period comes up over a whole period, and each step would be a write.
MilliCpus Seat::ramp(const Rules& rules) const {
  if (state.applied == kNoCap || need_ <= state.applied) return {};
  if (state.ahead.season_steps == 0) return {};  // as likely noise as a ramp
  const MilliCpus soon = quantile(rules, state.ahead, cap_quantile(rules));
  const bool is_ramp = need_ - overhead() >= share_of(soon, kRampPermille);
  return is_ramp ? soon + overhead() : MilliCpus{};
}

Claim Seat::claim(const Rules& rules, Instant now) {
  if (!seen_) {
    seen_ = true;
    first_seen_ = needed_last_ = refilled_at_ = now;
  }
  const CpuPolicy& cpu = rules.policy.cpu;
  const MilliCpus need_before = need_;
  need_ = std::max(state.demand, need_now(rules)) + overhead();
  need_ = std::max(need_, ramp(rules));
  need_reason_ =
      state.demand + overhead() >= need_ ? Reason::kDemand : Reason::kForecast;
  ask_ = reserve_now(rules, need_);
  // It learns before it cuts.
  const bool is_learning =
      !has_learned_ && now - first_seen_ < rules.policy.shadow.reserve_horizon;
  const bool is_held = state.missing || shrink_failed_ || !is_managed();
  if (is_learning || is_held) need_ = std::max(need_, held());
  need_ = std::clamp(need_, state.policy.floor, state.policy.ceiling);
  asked_ = std::max(need_, held_back(rules, now, need_before));
  if (state.applied != kNoCap && need_ > state.applied) {
    // What is demanded already gets the reserve with it, as by an edge. Who has
    // few writes left takes what it is to need soon: it is not to have to
    // again.
    const bool is_urgent = state.demand + overhead() > state.applied;
    // Not where others' needs would take it back at once.
    const bool is_restless = write_credit_ < kLowerCost * kPermille;
    asked_ = need_ + band_of(cpu, need_);
    if (!is_squeezed_ && is_urgent) {
      asked_ = std::max(asked_, need_ + ask_);
    } else if (!is_squeezed_ && is_restless) {
      asked_ = std::max(asked_, soon_needed(rules));
    }
  }
  asked_ = std::clamp(asked_, state.policy.floor, state.policy.ceiling);
  return claim_of(asked_);
}

Claim Seat::bare_claim() const { return claim_of(need_); }

Claim Seat::claim_of(MilliCpus need) const {
  return {.floor = state.policy.floor,
          .ceiling = state.policy.ceiling,
          .need = need,
          .reserve = is_managed() ? ask_ : MilliCpus{},
          .weight = state.policy.weight,
          .rank = static_cast<std::uint8_t>(state.policy.vm_class)};
}

}  // namespace outrider
