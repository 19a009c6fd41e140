// SPDX-License-Identifier: Apache-2.0
// What a Controller has learned, as bytes, and from one to the next.
#include <algorithm>
#include <array>
#include <bit>

#include "agent/core/controller_inside.h"
#include "agent/core/fields_io.h"

namespace outrider {
namespace {

// VMs that are gone, but may come back with what was learned of them.
constexpr std::size_t kSuspendedMax = 1024;
// A series that has missed more knows neither the level nor the phase any more.
constexpr std::uint64_t kMissedStepsMax = 256;

// Bounds of what is taken for a state.
constexpr std::size_t kSeatsMax = 8'192;
constexpr std::size_t kKeyMost = 64;  // of a VM that comes from elsewhere
constexpr std::size_t kSuspendedBytesMax = 1 << 20;
constexpr std::uint64_t kMissedMost = std::uint64_t{1} << 40;

// A VM without a UUID is the same as before only if it never went.
std::string key_of(const VmFacts& vm) {
  return vm.uuid.empty() ? "name " + vm.name : vm.uuid;
}

SeriesClock series_clock(const Rules& rules, Series series) {
  return outrider::series_clock(rules.policy, rules.tick_period, series);
}

}  // namespace

template <class Io, class Self>
void SeasonSearch::members(Io& io, Self& self) {
  auto& [steps, count, variance, r, next_lag] = self;
  std::array<std::uint32_t, kLags + 1> bits{};
  for (std::size_t i = 0; i < kLags; ++i) {
    bits[i] = std::bit_cast<std::uint32_t>(r[i]);
  }
  bits.back() = std::bit_cast<std::uint32_t>(variance);
  io(steps, count, bits, next_lag);
  if constexpr (Io::kReads) {
    for (std::size_t i = 0; i < kLags; ++i) {
      r[i] = std::bit_cast<float>(bits[i]);
      io.want(r[i] >= -1 && r[i] <= 1);
    }
    variance = std::bit_cast<float>(bits.back());
    io.want(variance >= 0 && next_lag <= kLagMax + 2 && count <= steps.size());
    for (const std::int16_t step : steps) {
      io.want(step >= 0 && step <= Season::kWhole);
    }
  }
}

void Controller::Inside::suspend(const Seat& seat) {
  if (!seat.state.facts.uuid.empty()) keep(seat, seat.state.facts.uuid);
}

Controller::Inside::Suspended& Controller::Inside::place_to_keep(
    const std::string& key) {
  if (suspended.size() >= kSuspendedMax && suspended.count(key) == 0) {
    suspended.erase(std::min_element(suspended.begin(), suspended.end(),
                                     [](const auto& a, const auto& b) {
                                       return a.second.number < b.second.number;
                                     }));
  }
  Suspended& kept = suspended[key];
  kept = {.series = {}, .number = ++suspensions, .missed = 0};
  return kept;
}

Controller::Inside::Suspended& Controller::Inside::keep(
    const Seat& seat, const std::string& key) {
  Suspended& kept = place_to_keep(key);
  for (std::size_t i = 0; i < Seat::kSeries; ++i) {
    const Forecaster& series = seat.series(i);
    kept.series[i].resize(series.state_bytes());
    series.save(kept.series[i]);
  }
  return kept;
}

void Controller::Inside::resume(Seat& seat) {
  auto kept = suspended.find(seat.state.facts.uuid);
  if (kept == suspended.end()) kept = suspended.find(key_of(seat.state.facts));
  if (kept == suspended.end()) return;
  const std::uint64_t since = kept->second.missed;
  const std::uint64_t ticks = since == 0 ? 0 : since + steps;
  std::size_t known = 0;
  for (std::size_t i = 0; i < Seat::kSeries; ++i) {
    const Duration step = series_clock(rules, static_cast<Series>(i)).step;
    const std::uint64_t missed =
        ticks / static_cast<std::uint64_t>(step / rules.tick_period);
    if (missed > kMissedStepsMax) continue;
    // What is not of this kind starts anew.
    if (!seat.series(i).load(kept->second.series[i])) continue;
    for (std::uint64_t k = 0; k < missed; ++k) {
      seat.series(i).observe({.missing = true});
    }
    ++known;
  }
  // It learns before it cuts, unless all that it cuts by is known.
  if (known == Seat::kSeries && since > 0) seat.go_on();
  seat.refresh_forecasts();
  suspended.erase(kept);
}

void Controller::inherit(const Controller& before, Duration ago) {
  const Inside& old = *before.inside_;
  Inside& in = *inside_;
  in.suspended = old.suspended;
  in.suspensions = old.suspensions;
  const auto ticks = static_cast<std::uint64_t>(ago / in.rules.tick_period);
  for (auto& [key, kept] : in.suspended) {
    if (kept.missed == 0) continue;  // it went while it was known: no time went
    kept.missed = std::min(kept.missed + old.steps + ticks, kMissedMost);
  }
  for (const auto& seat : old.seats) {
    in.keep(*seat, key_of(seat->state.facts)).missed = ticks + 1;
  }
  for (std::size_t i = 0; i < Seat::kSeries; ++i) {
    const auto series = static_cast<Series>(i);
    const Duration step = series_clock(in.rules, series).step;
    if (step == series_clock(old.rules, series).step) continue;
    for (auto& [key, kept] : in.suspended) kept.series[i].clear();
  }
}

bool Controller::give_learned(VmId vm, std::vector<std::byte>& bytes) const {
  const Seat* seat = inside_->seat(vm);
  if (seat == nullptr) return false;
  FieldWriter out(bytes);
  std::vector<std::byte> state;
  for (std::size_t i = 0; i < Seat::kSeries; ++i) {
    const auto series = static_cast<Series>(i);
    const SeriesClock clock = series_clock(inside_->rules, series);
    state.resize(seat->series(i).state_bytes());
    seat->series(i).save(state);
    out(clock.step, clock.horizon);
    out.blob(state);
  }
  return true;
}

Result<Controller::Inside::Suspended> Controller::Inside::read_learned(
    std::span<const std::byte> bytes) const {
  FieldReader in(bytes);
  Suspended learned;
  for (std::size_t i = 0; i < Seat::kSeries; ++i) {
    const SeriesClock wanted = series_clock(rules, static_cast<Series>(i));
    SeriesClock clock;
    in(clock.step, clock.horizon);
    in.blob(learned.series[i], kSuspendedBytesMax);
    if (!in.ok()) break;
    if (clock.step != wanted.step || clock.horizon != wanted.horizon) {
      return fail(0, "it was learned with other horizons or another tick");
    }
    if (!make_forecaster(clock.horizon)->load(learned.series[i])) {
      return fail(0, "it is damaged, or of another version of Outrider");
    }
  }
  if (!in.done()) return fail(0, "it is nothing that Outrider has learned");
  return learned;
}

Result<> Controller::take_learned(const std::string& uuid,
                                  std::span<const std::byte> bytes) {
  Inside& in = *inside_;
  if (uuid.empty() || uuid.size() > kKeyMost) {
    return fail(0, "it is of no VM that has a UUID");
  }
  auto learned = in.read_learned(bytes);
  if (!learned) return pass(learned, "what was learned");
  in.ponder_rest();
  Inside::Suspended& kept = in.place_to_keep(uuid);
  kept.series = std::move(learned->series);
  for (const auto& seat : in.seats) {
    if (seat->state.facts.uuid == uuid) in.resume(*seat);
  }
  in.search.begin_anew();
  return {};
}

// Taken apart by structured bindings, so that a new member does not compile
// until it is considered here.
void Controller::save(std::vector<std::byte>& bytes) const {
  const auto& [rules, host, factory, seats, suspended, suspensions, arbiter,
               claims, shares, spare, plan, grown, first_tick, now, steps,
               search, pondering, ponders_left, free, started] = *inside_;
  FieldWriter out(bytes);
  const auto& [policy, tick_period] = rules;
  out(policy, tick_period, host.cpus, suspensions, first_tick, now, steps,
      pondering, ponders_left, free, started, seats.size());
  SeasonSearch::members(out, search);
  for (const auto& seat : seats) {
    out(seat->state.facts);
    seat->save(out);
  }
  out(suspended.size());
  for (const auto& [uuid, kept] : suspended) {
    out(uuid, kept.number, kept.missed);
    for (const auto& series : kept.series) out.blob(series);
  }
}

Result<> Controller::load(std::span<const std::byte> state) {
  auto loaded = std::make_unique<Inside>();
  loaded->make_forecaster = inside_->make_forecaster;
  FieldReader in(state);
  loaded->load(in);
  if (!in.done()) return fail(0, "these bytes are no controller's state");
  inside_ = std::move(loaded);
  return {};
}

void Controller::Inside::load(FieldReader& in) {
  std::size_t count = 0;
  std::size_t place = 0;
  in(rules.policy, rules.tick_period, host.cpus, suspensions, first_tick, now,
     steps, place, ponders_left, free, started, count);
  SeasonSearch found;
  SeasonSearch::members(in, found);
  in.want(ponders_left <= kPonders);
  in.want(rules.tick_period >= std::chrono::milliseconds{1} && host.cpus >= 1 &&
          host.cpus <= 65'536 && count <= kSeatsMax);
  for (std::size_t i = 0; i < count && in.ok(); ++i) {
    VmFacts facts;
    in(facts);
    if (!in.ok()) return;
    seats.push_back(std::make_unique<Seat>(facts, rules, make_forecaster));
    seats.back()->load(in, make_forecaster);
    in.want(seats.back()->state.facts == facts);
    in.want(i == 0 || seats[i - 1]->state.facts.id < facts.id);
  }
  in(count);
  in.want(count <= kSeatsMax);
  for (std::size_t i = 0; i < count && in.ok(); ++i) {
    std::string uuid;
    in(uuid);
    in.want(!uuid.empty());
    Suspended& kept = suspended[uuid];
    in(kept.number, kept.missed);
    in.want(kept.missed <= kMissedMost);
    for (auto& series : kept.series) in.blob(series, kSuspendedBytesMax);
  }
  if (!in.ok()) return;
  make_room();
  in.want(seats.empty() ? place == 0 : place < seats.size() * Seat::kSeries);
  pondering = place;
  search = found;
}

}  // namespace outrider
