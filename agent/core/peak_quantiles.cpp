// SPDX-License-Identifier: Apache-2.0
#include "agent/core/peak_quantiles.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <type_traits>

#include "agent/base/prefetch.h"

namespace outrider {
namespace {

// Share that a loss keeps with each step.
constexpr float kLossKept = 0.99F;
// Where there is a season, whole periods of it count, at least so many: else
// who is right between two bursts would be followed into the next one.
constexpr float kPeriodsJudged = 3;
// What experts may tell, in parts of the highest peak so far.
constexpr float kTopSpare = 1.1F;

}  // namespace

PeakQuantiles::PeakQuantiles(const MixPlan& plan, std::uint32_t horizon)
    : plan_(&plan),
      horizon_(horizon),
      steps_(std::make_unique<PeakSeen[]>(horizon)),
      slots_(std::make_unique<Slot[]>(horizon)) {
  static_assert(std::is_trivially_copyable_v<State>);
  static_assert(std::is_trivially_copyable_v<Slot>);
  static_assert(sizeof(State) == sizeof(ExpertMix) + sizeof(ForecastTruth) +
                                     24 + sizeof(Experts));
  assert(horizon >= 1 && horizon <= kHorizonMax);
}

void PeakQuantiles::start(float value, float prior) {
  s_.experts.start(value, value + prior);
  s_.mix.start(value, prior);
}

void PeakQuantiles::prefetch() const {
  prefetch_lines(&s_, offsetof(State, experts));
  s_.experts.prefetch();
  prefetch_lines(steps_.get(), horizon_ * sizeof(PeakSeen));
  prefetch_lines(&slots_[s_.slot], sizeof(Slot));
}

void PeakQuantiles::note(PeakSeen step, bool is_seen) {
  steps_[s_.slot] = step;
  s_.unseen = (s_.unseen << 1) | (is_seen ? 0U : 1U);
  if (is_seen && s_.values <= horizon_) ++s_.values;
}

bool PeakQuantiles::is_due() const {
  const std::uint32_t window = (1U << horizon_) - 1;
  return s_.values > horizon_ && (s_.unseen & window) == 0;
}

/// Of the last horizon.
PeakSeen PeakQuantiles::peak_seen() const {
  PeakSeen seen;
  for (std::uint32_t i = 0; i < horizon_; ++i) {
    seen.most = std::max(seen.most, steps_[i].most);
    seen.least = std::max(seen.least, steps_[i].least);
  }
  return seen;
}

float PeakQuantiles::loss_kept() const {
  const float period = s_.experts.period();
  if (period <= 0) return kLossKept;
  return std::max(kLossKept, 1 - 1 / (kPeriodsJudged * period));
}

void PeakQuantiles::observe(PeakSeen step) {
  note(step, true);
  const PeakSeen seen = peak_seen();
  if (is_due()) {
    const Slot& due = slots_[s_.slot];
    s_.mix.learn(*plan_, due.view, due.told, seen, loss_kept());
    s_.truth.learn(*plan_, due.told, seen);
  }
  s_.experts.observe(step.most, horizon_);
  tell(seen.most);
}

void PeakQuantiles::skip() {
  note({.most = s_.experts.last(), .least = 0}, false);
  s_.experts.skip(horizon_);
  tell(peak_seen().most);
}

void PeakQuantiles::tell(float trailing) {
  const bool seasonal = s_.experts.period() > 0;
  if (seasonal && s_.seasonal == 0) s_.mix.welcome_season();
  s_.seasonal = seasonal ? 1 : 0;
  Slot& next = slots_[s_.slot];
  next.view = s_.experts.view(horizon_, trailing);
  next.told = s_.mix.tell(*plan_, next.view, kTopSpare * s_.experts.top());
  s_.slot = s_.slot + 1 < horizon_ ? s_.slot + 1 : 0;
}

std::size_t PeakQuantiles::state_bytes() const {
  return sizeof(State) + horizon_ * (sizeof(PeakSeen) + sizeof(Slot));
}

void PeakQuantiles::save(std::span<std::byte> state) const {
  assert(state.size() == state_bytes());
  const std::size_t steps = horizon_ * sizeof(PeakSeen);
  std::memcpy(state.data(), &s_, sizeof(State));
  std::memcpy(&state[sizeof(State)], steps_.get(), steps);
  std::memcpy(&state[sizeof(State) + steps], slots_.get(),
              horizon_ * sizeof(Slot));
}

bool PeakQuantiles::is_sound(const State& state) const {
  return state.slot < horizon_ && state.values <= horizon_ + 1 &&
         state.seasonal <= 1 && state.mix.is_sound() &&
         state.truth.is_sound() && state.experts.is_sound();
}

bool PeakQuantiles::Slot::is_sound() const {
  return all_within(told, kFigureMost) && view.is_sound();
}

bool PeakQuantiles::load(std::span<const std::byte> bytes) {
  assert(bytes.size() == state_bytes());
  const auto steps = bytes.subspan(sizeof(State), horizon_ * sizeof(PeakSeen));
  const auto slots = bytes.subspan(sizeof(State) + steps.size());
  State state;
  std::memcpy(&state, bytes.data(), sizeof(State));
  if (!is_sound(state)) return false;
  for (std::uint32_t i = 0; i < horizon_; ++i) {
    PeakSeen step;
    Slot slot;
    std::memcpy(&step, &steps[i * sizeof(step)], sizeof(step));
    std::memcpy(&slot, &slots[i * sizeof(slot)], sizeof(slot));
    if (!step.is_sound() || !slot.is_sound()) return false;
  }
  s_ = state;
  std::memcpy(steps_.get(), steps.data(), steps.size());
  std::memcpy(slots_.get(), slots.data(), slots.size());
  return true;
}

}  // namespace outrider
