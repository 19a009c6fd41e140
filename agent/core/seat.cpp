// SPDX-License-Identifier: Apache-2.0
#include "agent/core/seat.h"

#include <algorithm>
#include <utility>

#include "agent/core/seat_band.h"

namespace outrider {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// A VM may save up so many writes, and run so many into debt by raising.
constexpr std::int64_t kWritesSaved = 10;
constexpr std::int64_t kWritesEnough = 3;  // below it is thrifty
constexpr std::int64_t kWritesOwed = 20;
// So many writes of debt double, treble, ... the changes that are worth one; up
// to twice where its own demand is above its cap.
constexpr std::int64_t kDebtStep = 4;

// As a lowering, a loan costs two, as it may be revoked at any time. It changes
// in steps worth a write.
constexpr std::int64_t kLoanCost = 2;
constexpr std::int64_t kLoanStepPermille = 250;
constexpr Duration kLoanPeriod = milliseconds{500};

// Of what edges came to, and of the cap: what an edge raises it to at least.
constexpr std::int64_t kEdgeSparePermille = 1100;
constexpr std::int64_t kEdgeStepPermille = 1500;

constexpr Duration kRetryFirst = milliseconds{20};
constexpr Duration kRetryMost = seconds{1};
constexpr Duration kReassertAfter = seconds{1};
// After the answer nothing is set for a while: whoever writes each second shows
// himself before there is a third write of ours.
constexpr Duration kReassertQuiet = milliseconds{1500};
constexpr Duration kForeignMemory = seconds{60};
constexpr std::uint8_t kStartTries = 3;

constexpr std::uint32_t kAheadSteps = 5;
constexpr std::uint32_t kReserveSteps = 10;

// Of the control window at most, each of as many ticks as that takes.
constexpr std::uint32_t kSoonStepsMax = 12;

std::uint32_t whole_steps(Duration span, Duration step) {
  const auto steps = (span + step - Duration{1}) / step;
  return static_cast<std::uint32_t>(std::clamp<std::int64_t>(steps, 1, 4096));
}

SlowedForecaster make_series(const Rules& rules, Series series,
                             const ForecasterFactory& make_forecaster) {
  const SeriesClock clock =
      series_clock(rules.policy, rules.tick_period, series);
  return {make_forecaster, clock.horizon,
          whole_steps(clock.step, rules.tick_period)};
}

std::uint8_t bit(Knob knob) {
  return static_cast<std::uint8_t>(1U << static_cast<unsigned>(knob));
}

}  // namespace

SeriesClock series_clock(const Policy& policy, Duration tick, Series series) {
  if (series == Series::kSoon) {
    // What is decided holds for a tick. Half a period more is for a phase that
    // is not known exactly; a raise takes effect at once, whatever the period.
    const Duration window = policy.cpu.cap_period / 2 + tick;
    const Duration step = tick * whole_steps(window, tick * kSoonStepsMax);
    return {.step = step, .horizon = whole_steps(window, step)};
  }
  const bool is_ahead = series == Series::kAhead;
  const Duration horizon = is_ahead ? policy.shadow.prediction_horizon
                                    : policy.shadow.reserve_horizon;
  const std::uint32_t steps = is_ahead ? kAheadSteps : kReserveSteps;
  const Duration step = tick * whole_steps(horizon / steps, tick);
  return {.step = step, .horizon = std::min(whole_steps(horizon, step), steps)};
}

SlowedForecaster::SlowedForecaster(const ForecasterFactory& make_forecaster,
                                   std::uint32_t horizon_steps,
                                   std::uint32_t every)
    : forecaster_(make_forecaster(horizon_steps)),
      horizon_(horizon_steps),
      every_(every),
      left_(every) {}

LikelyPeriod SlowedForecaster::period_of(const SlowedForecaster& slower) const {
  const std::uint32_t steps = slower.forecaster().forecast().season_steps;
  if (steps == 0) return {};
  // It is known to half a step on either side.
  const std::uint32_t halves = steps * 2 * slower.every_;
  return {.first = (halves - slower.every_) / (2 * every_),
          .last = (halves + slower.every_) / (2 * every_) + 1};
}

bool SlowedForecaster::observe(Observation now, std::uint32_t steps) {
  bool is_new = false;
  for (std::uint32_t i = 0; i < steps; ++i) {
    if (!now.missing) {
      peak_.value =
          peak_.missing ? now.value : std::max(peak_.value, now.value);
      peak_.least =
          peak_.missing ? now.least : std::max(peak_.least, now.least);
      peak_.missing = false;
    }
    if (--left_ > 0) continue;
    forecaster_->observe(peak_);
    peak_.missing = true;
    left_ = every_;
    is_new = true;
  }
  return is_new;
}

Seat::Seat(const VmFacts& facts, const Rules& rules,
           const ForecasterFactory& make_forecaster)
    : series_{make_series(rules, Series::kSoon, make_forecaster),
              make_series(rules, Series::kAhead, make_forecaster),
              make_series(rules, Series::kReserve, make_forecaster)},
      write_credit_(kWritesSaved * kPermille) {
  state.facts = facts;
  state.applied = facts.baseline_cap;
  resolve(rules);
  refresh_forecasts();
  stand_back();
}

void Seat::resolve(const Rules& rules) {
  state.policy = outrider::resolve(rules.policy, state.facts);
  state.policy.mode = std::min(state.policy.mode, mode_asked);
}

void Seat::stand_back() {
  state.in_charge = false;
  state.applied = state.facts.baseline_cap;
  state.reserve = state.lent = state.loan = {};
  start_left_ = bit(Knob::kCpuMaxBurst) | bit(Knob::kCpuWeight) |
                (state.policy.idle ? bit(Knob::kCpuIdle) : 0);
  start_failures_ = 0;
}

bool Seat::is_managed() const {
  return state.policy.mode != Mode::kObserve && !state.contended &&
         !state.let_go && !state.gone;
}

MilliCpus Seat::held() const {
  const MilliCpus most = state.policy.ceiling;
  return state.applied == kNoCap ? most : std::min(state.applied, most);
}

bool Seat::may_write(const Rules& rules, Instant now,
                     std::int64_t writes_left) {
  const Duration since = now - refilled_at_;
  // With what was saved it is the budget in any minute, not only on average;
  // unless it is small: then half of it is earned all the same.
  const std::int64_t rate =
      std::max(rules.policy.cpu.writes_per_minute - kWritesSaved,
               rules.policy.cpu.writes_per_minute / 2);
  const std::int64_t earned = rate * (since / milliseconds{1}) / 60;
  if (earned > 0) {
    refilled_at_ = now;
    write_credit_ = std::min(write_credit_ + earned, kWritesSaved * kPermille);
  }
  return write_credit_ >= writes_left * kPermille;
}

std::int64_t Seat::restraint() const {
  const std::int64_t debt = std::max<std::int64_t>(-write_credit_, 0);
  return 1 + debt / (kDebtStep * kPermille);
}

bool Seat::is_thrifty() const {
  return write_credit_ < kWritesEnough * kPermille;
}

void Seat::spend_write() {
  write_credit_ = std::max(write_credit_ - kPermille, -kWritesOwed * kPermille);
}

Action Seat::cap_action(MilliCpus value, Reason reason) const {
  return {.vm = state.facts.id,
          .knob = Knob::kCpuMax,
          .reason = reason,
          .value = value.count(),
          .old = state.applied.count()};
}

bool Seat::decide(const Rules& rules, Instant now, const Share& share,
                  Action& action) {
  const CpuPolicy& cpu = rules.policy.cpu;
  state.reserve = share.reserve;
  state.lent = share.lent;
  state.loan = share.loan;
  state.target = share.allocation;
  // Who has to give up some of what it only holds gives it all up: one write.
  if (share.allocation < asked_ && share.allocation >= need_) {
    const MilliCpus enough = need_ + band_of(cpu, need_);
    state.target = std::min(share.allocation, std::max(enough, share.loan));
  }
  note_grant(share);
  is_short_ = share.allocation < need_;
  const bool is_short = is_squeezed_ = share.allocation < asked_;
  state.reason = share.loan > MilliCpus{}               ? Reason::kLoan
                 : is_short                             ? Reason::kShortage
                 : state.target == state.policy.ceiling ? Reason::kCeiling
                 : state.target == state.policy.floor   ? Reason::kFloor
                                                        : need_reason_;
  if (!is_managed() || state.missing || now < retry_at_) return false;
  if (now < quiet_until_) return false;
  if (reassert_ && now >= reassert_at_) {
    reassert_ = false;
    quiet_until_ = now + kReassertQuiet;
    action = cap_action(state.target, Reason::kReassert);
    return true;
  }
  if (reassert_) return false;
  if (state.applied == kNoCap || !state.in_charge) {
    action = cap_action(state.target, state.reason);
    return true;
  }
  if (state.target > state.applied) return raise(rules, now, share, action);
  if (state.target == state.applied) return false;
  // A shortage takes at once, and so does the owner of a loan; but no more
  // than once in a period, which is as soon as it counts.
  const MilliCpus least =
      share_of(band_of(cpu, state.applied),
               kPermille * std::min<std::int64_t>(restraint(), 2));
  if (is_short && (state.applied - state.target < least ||
                   now - taken_at_ < cpu.cap_period)) {
    return false;
  }
  if (is_short) taken_at_ = now;
  action = cap_action(state.target, !is_short   ? Reason::kLower
                                    : was_lent_ ? Reason::kRevoked
                                                : Reason::kShortage);
  was_lent_ = share.loan > MilliCpus{};
  return true;
}

bool Seat::raise(const Rules& rules, Instant now, const Share& share,
                 Action& action) {
  const MilliCpus own = share.allocation - share.loan;
  if (own > state.applied) {
    // The dead-band, and three times that where it only may be needed soon:
    // what the kernel lets a VM save up covers so much.
    const bool is_urgent = state.demand + overhead() > state.applied;
    const std::int64_t bands =
        is_urgent ? std::min<std::int64_t>(restraint(), 2) : 3 * restraint();
    if (own - state.applied <
        share_of(band_of(rules.policy.cpu, state.applied), kPermille * bands)) {
      return false;
    }
    action = cap_action(state.target, state.reason);
    was_lent_ = share.loan > MilliCpus{};
    return true;
  }
  const MilliCpus step = std::max(band_of(rules.policy.cpu, state.applied),
                                  share_of(state.applied, kLoanStepPermille));
  if (state.target - state.applied < step || now - lent_at_ < kLoanPeriod ||
      !may_write(rules, now, kLoanCost)) {
    return false;
  }
  lent_at_ = now;
  was_lent_ = true;
  action = cap_action(state.target, Reason::kLoan);
  return true;
}

void Seat::note_grant(const Share& share) {
  if (ask_ <= asked_reserve_) {
    asked_reserve_ = ask_;
    return;
  }
  asked_reserve_ = ask_;
  ShadowStats& stats = state.stats;
  if (share.reserve >= ask_)
    ++stats.grants_full;
  else if (share.reserve > MilliCpus{})
    ++stats.grants_partial;
  else
    ++stats.grants_denied;
}

std::size_t Seat::start_actions(const Rules& rules, std::span<Action> actions) {
  if (!state.in_charge || !is_managed() || start_left_ == 0) return 0;
  std::size_t count = 0;
  const auto add = [&](Knob knob, std::int64_t value) {
    if ((start_left_ & bit(knob)) == 0) return;
    actions[count++] = {.vm = state.facts.id,
                        .knob = knob,
                        .reason = Reason::kStart,
                        .value = value};
  };
  // Never above the least quota that this VM can get, so that no order of
  // writes is ever refused.
  const auto least_quota_us =
      state.policy.floor.count() *
      (rules.policy.cpu.cap_period / std::chrono::microseconds{1}) / kPermille;
  add(Knob::kCpuMaxBurst,
      std::min<std::int64_t>(
          rules.policy.cpu.burst / std::chrono::microseconds{1},
          least_quota_us));
  if (rules.policy.cpu.weights) {
    add(Knob::kCpuWeight, state.policy.weight);
    add(Knob::kCpuIdle, 1);
  }
  return count;
}

// Where edges have come to less than all, so much is handed over; if it was too
// little, the next edge, before it is used up, brings all.
MilliCpus Seat::likely_after_edge() const {
  if (!edge_peaks_.knows() || edge_peaks_.is_open()) {
    return state.policy.ceiling;
  }
  return std::max(share_of(edge_peaks_.likely(), kEdgeSparePermille),
                  share_of(state.applied, kEdgeStepPermille)) +
         overhead();
}

bool Seat::hand_over(const Rules& rules, const EdgeInput& edge, MilliCpus free,
                     Action& action) {
  if (!is_managed() || !state.in_charge || state.applied == kNoCap ||
      edge.at < retry_at_ || edge.at < quiet_until_ || reassert_) {
    return false;
  }
  // Waiting is cured by a higher cap only where the cap is what it waits for.
  const bool is_near_cap = 2 * state.demand.count() >= state.applied.count();
  if (edge.kind == EdgeInput::Kind::kWait && !is_near_cap) return false;
  // More than its vCPUs can use, so that the emulator's share does not throttle
  // the guest. Where it has that, what is left of a period lasts to its end.
  const MilliCpus all{state.facts.vcpus * kPermille};
  if (state.applied >= all + overhead()) return false;
  const MilliCpus full = all + std::max(share_of(all, 200), overhead());
  // What arbitration has denied or lent, an edge does not get round.
  const bool is_in_debt = is_short_ || state.loan > MilliCpus{};
  const MilliCpus can =
      state.applied + state.reserve + (is_in_debt ? MilliCpus{} : free);
  const MilliCpus value =
      std::min({full, can, state.policy.ceiling, likely_after_edge()});
  if (value <= state.applied + band_of(rules.policy.cpu, state.applied)) {
    ++state.stats.edges_unserved;
    return false;
  }
  const MilliCpus more = value - state.applied;
  state.reserve = std::max(state.reserve - more, MilliCpus{});
  state.lent = std::min(state.lent, state.reserve);
  state.target = value;
  state.reason = Reason::kEdge;
  ++state.stats.hand_overs;
  if (!edge_peaks_.is_open()) {
    edge_peaks_.open(rules.policy.cpu.cap_period + rules.tick_period);
  }
  needed_last_ = taken_at_ = edge.at;
  action = cap_action(value, Reason::kEdge);
  return true;
}

void Seat::settle(const Rules& rules, Instant now, const Action& action,
                  const Outcome& outcome) {
  const bool is_cap = action.knob == Knob::kCpuMax;
  const bool is_start = action.reason == Reason::kStart && !is_cap;
  switch (outcome.kind) {
    case Outcome::Kind::kApplied:
      ++state.stats.writes;
      (void)may_write(rules, now, 0);  // first what was earned meanwhile
      spend_write();
      if (is_start) start_left_ &= static_cast<std::uint8_t>(~bit(action.knob));
      if (!is_cap) return;  // another knob's success says nothing of the cap's
      retry_after_ = {};
      shrink_failed_ = false;
      state.in_charge = true;
      state.applied = MilliCpus{outcome.value};
      return;
    case Outcome::Kind::kUnconfirmed:
      if (is_start && ++start_failures_ >= kStartTries) start_left_ = 0;
      if (is_cap) shrink_failed_ = action.value < action.old;
      retry_after_ = std::clamp(2 * retry_after_, kRetryFirst, kRetryMost);
      retry_at_ = now + retry_after_;
      return;
    case Outcome::Kind::kForeign:
      if (is_cap) foreign_write(now, MilliCpus{outcome.value});
      if (is_start) start_left_ &= static_cast<std::uint8_t>(~bit(action.knob));
      return;
    case Outcome::Kind::kGone:
      state.gone = true;
      return;
  }
}

void Seat::foreign_write(Instant now, MilliCpus cap) {
  if (state.contended || !state.in_charge) return;
  state.applied = cap;
  const bool is_second = foreign_seen_ && now - foreign_at_ < kForeignMemory;
  // While the answer to the first is still due, a second changes nothing: it
  // may be the same one, noticed twice.
  if (reassert_) return;
  if (is_second) {
    state.contended = true;
    return;
  }
  foreign_seen_ = true;
  foreign_at_ = now;
  reassert_ = true;
  reassert_at_ = now + kReassertAfter;
}

void Seat::forget_writers() {
  state.contended = false;
  foreign_seen_ = reassert_ = false;
  quiet_until_ = {};
}

void Seat::account(Duration interval) {
  const auto ms = static_cast<std::uint64_t>(interval / milliseconds{1});
  const auto idle_reserve =
      static_cast<std::uint64_t>((state.reserve - state.lent).count());
  state.stats.held +=
      (static_cast<std::uint64_t>(held().count()) + idle_reserve) * ms;
  state.stats.wasted += idle_reserve * ms;
}

}  // namespace outrider
