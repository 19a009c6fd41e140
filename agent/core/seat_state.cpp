// SPDX-License-Identifier: Apache-2.0
// A Seat's state to bytes and back. Each class is taken apart by a structured
// binding: a new member does not compile until it is named here.
#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include "agent/core/fields_io.h"
#include "agent/core/forecast_experts.h"
#include "agent/core/seat.h"

namespace outrider {
namespace {

constexpr std::size_t kSeriesBytesMax = 1 << 20;
constexpr std::uint32_t kStepsMax = 4096;

// Of one tick, and of all; the sum with one more tick fits 64 bits.
constexpr Duration kSpanMax = std::chrono::minutes{18};
constexpr std::int64_t kTickSpanMax = std::int64_t{1} << 40;  // ns, 18 minutes
constexpr std::int64_t kTickWantMax = std::int64_t{1} << 62;
constexpr std::int64_t kWantMax = std::int64_t{1} << 62;

}  // namespace

template <class Io>
void fields(Io& io, Field<Io, Observation>& all) {
  auto& [value, least, missing] = all;
  io(value, least, missing);
}

template <class Io>
void fields(Io& io, Field<Io, Forecast>& all) {
  auto& [peak, scored, season] = all;
  io(peak, scored, season);
}

template <class Io>
void fields(Io& io, Field<Io, VmPolicy>& all) {
  auto& [vm_class, mode, floor, ceiling, weight, quantile, idle] = all;
  io(vm_class, mode, floor, ceiling, weight, quantile, idle);
  want(io, floor >= MilliCpus{} && floor <= ceiling &&
               ceiling.count() <= kLimitMax && weight >= 1 &&
               weight <= 1'000'000);
}

template <class Io>
void fields(Io& io, Field<Io, ShadowStats>& all) {
  auto& [full, partial, denied, hand_overs, unserved, pre_raised, surprised,
         held, used, wasted, throttled, reactive_short, writes] = all;
  io(full, partial, denied, hand_overs, unserved, pre_raised, surprised, held,
     used, wasted, throttled, reactive_short, writes);
}

template <class Io>
void fields(Io& io, Field<Io, CpuInput>& all) {
  auto& [vm, demand, overcounted, open_wait, usage, wait, throttled,
         upper_bound, missing] = all;
  io(vm, demand, overcounted, open_wait, usage, wait, throttled, upper_bound,
     missing);
}

template <class Io>
void fields(Io& io, Field<Io, VmState>& all) {
  auto& [facts, policy, demand, target, applied, reserve, lent, loan, reason,
         seen, soon, ahead, reserve_ahead, foreseen, in_charge, missing,
         contended, let_go, gone, stats] = all;
  io(facts, policy, demand, target, applied, reserve, lent, loan, reason, seen,
     soon, ahead, reserve_ahead, foreseen, in_charge, missing, contended,
     let_go, gone, stats);
  want(io, foreseen >= MilliCpus{});
}

// The oldest first: where in the ring they lie means nothing. The sums follow.
template <class Io, class Self>
void DemandWindow::members(Io& io, Self& self) {
  auto& [ticks, first, count, want_sum, certain_sum, span_sum, rate, previous,
         certain_rate, previous_certain] = self;
  io(first, count, rate, previous, certain_rate, previous_certain);
  want(io, first < kTicksMax && count <= kTicksMax);
  std::int64_t wanted = 0;
  std::int64_t sure = 0;
  std::int64_t span = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if constexpr (Io::kReads) {
      if (!io.ok()) return;
    }
    auto& tick = ticks[(first + i) % kTicksMax];
    io(tick.want, tick.certain, tick.span);
    want(io, tick.want >= -kTickWantMax && tick.want <= kTickWantMax &&
                 tick.certain >= -kTickWantMax && tick.certain <= tick.want &&
                 tick.span >= 0 && tick.span <= kTickSpanMax);
    if constexpr (Io::kReads) {
      if (!io.ok()) return;
      wanted += tick.want;
      sure += tick.certain;
      span += tick.span;
      want(io, wanted >= -kWantMax && wanted <= kWantMax && sure >= -kWantMax);
    }
  }
  if constexpr (Io::kReads) {
    want_sum = wanted;
    certain_sum = sure;
    span_sum = span;
  }
}

template <class Io, class Self>
void RecentMax::members(Io& io, Self& self) {
  auto& [slots, newest, turn] = self;
  io(slots, newest, turn);
  want(io, newest < kSlots && turn >= -kInstantMax && turn <= kInstantMax);
}

template <class Io, class Self>
void ReactiveTwin::members(Io& io, Self& self) {
  auto& [recent, at, left, cap] = self;
  RecentMax::members(io, recent);
  io(at, left, cap);
  want(io, cap >= MilliCpus{} && cap <= kNothingHeld && left <= kPeriod);
}

void SlowedForecaster::save(FieldWriter& out) const {
  const auto& [forecaster, horizon, every, left, peak] = *this;
  out(horizon, every, left, peak);
  std::vector<std::byte> state(forecaster->state_bytes());
  forecaster->save(state);
  out.blob(state);
}

void SlowedForecaster::load(FieldReader& in,
                            const ForecasterFactory& make_forecaster) {
  auto& [forecaster, horizon, every, left, peak] = *this;
  in(horizon, every, left, peak);
  in.want(horizon >= 1 && horizon <= kHorizonMax && every >= 1 &&
          every <= kStepsMax && left >= 1 && left <= every);
  std::vector<std::byte> state;
  in.blob(state, kSeriesBytesMax);
  if (!in.ok()) return;
  forecaster = make_forecaster(horizon);
  in.want(forecaster->load(state));
}

template <class Io, class Self>
void EdgePeaks::members(Io& io, Self& self) {
  auto& [peaks, next, held, likely, peak, left] = self;
  io(peaks, next, held, likely, peak, left);
  want(io, next < kHeld && held <= kHeld && left <= kSpanMax);
}

template <class Io, class Self>
void Seat::members(Io& io, Self& self) {
  auto& [its_state, mode, window, edge_peaks, series, level, peak, need, ask,
         asked_reserve, asked, need_reason, first_seen, needed_last, recent,
         twin, retry_at, retry_after, lent_at, taken_at, steady_at, refilled_at,
         write_credit, seen, has_learned, shrink_failed, is_short, is_squeezed,
         was_lent, start_left, start_failures, foreign_at, reassert_at,
         quiet_until, foreign_seen, reassert] = self;
  io(its_state, mode, level, peak, need, ask, asked_reserve, asked, need_reason,
     first_seen, needed_last, retry_at, retry_after, lent_at, taken_at,
     steady_at, refilled_at, write_credit, seen, has_learned, shrink_failed,
     is_short, is_squeezed, was_lent, start_left, start_failures, foreign_at,
     reassert_at, quiet_until, foreign_seen, reassert);
  DemandWindow::members(io, window);
  EdgePeaks::members(io, edge_peaks);
  RecentMax::members(io, recent);
  ReactiveTwin::members(io, twin);
  for (std::size_t i = 0; i < kThreadClasses; ++i) {
    want(io, level[i] >= 0 && level[i] <= kMilliCpusMax && peak[i] >= 0 &&
                 peak[i] <= kMilliCpusMax);
  }
  want(io, write_credit >= -kMilliCpusMax && write_credit <= kMilliCpusMax);
  (void)series;  // each is written by itself
}

void Seat::save(FieldWriter& out) const {
  members(out, *this);
  for (const SlowedForecaster& series : series_) series.save(out);
}

void Seat::load(FieldReader& in, const ForecasterFactory& make_forecaster) {
  members(in, *this);
  for (SlowedForecaster& series : series_) series.load(in, make_forecaster);
}

}  // namespace outrider
