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

/// One more bit.
std::uint16_t newest_first(std::uint16_t bits, bool bit) {
  return static_cast<std::uint16_t>(bits << 1 | (bit ? 1 : 0));
}

}  // namespace

PeakQuantiles::PeakQuantiles(const MixPlan& plan, std::uint32_t horizon)
    : plan_(&plan),
      horizon_(horizon),
      steps_(std::make_unique<PeakSeen[]>(horizon)),
      slots_(std::make_unique<Slot[]>(horizon)),
      season_views_(std::make_unique<SeasonView[]>(horizon)) {
  static_assert(std::is_trivially_copyable_v<State>);
  static_assert(std::is_trivially_copyable_v<Slot>);
  static_assert(std::is_trivially_copyable_v<SeasonView>);
  static_assert(sizeof(State) == sizeof(ForecastTruth) + sizeof(Experts) + 8 +
                                     sizeof(ExpertMix) + sizeof(SeasonExperts) +
                                     4);
  assert(horizon >= 1 && horizon <= kHorizonMax);
}

void PeakQuantiles::start(float value, float prior) {
  s_.experts.start(value, value + prior);
  s_.mix.start(value, prior);
}

void PeakQuantiles::prefetch() const {
  const bool seasonal = period() > 0;
  prefetch_lines(&s_,
                 offsetof(State, season) - (seasonal ? 0 : sizeof(SeasonMix)));
  s_.season.prefetch();
  prefetch_lines(steps_.get(), horizon_ * sizeof(PeakSeen));
  prefetch_lines(&slots_[s_.slot], sizeof(Slot));
  if (seasonal) prefetch_lines(&season_views_[s_.slot], sizeof(SeasonView));
}

void PeakQuantiles::note(PeakSeen step, bool is_seen) {
  steps_[s_.slot] = step;
  s_.unseen = newest_first(s_.unseen, !is_seen);
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
  if (period() <= 0) return kLossKept;
  return std::max(kLossKept, 1 - 1 / (kPeriodsJudged * period()));
}

void PeakQuantiles::observe(PeakSeen step) {
  note(step, true);
  const PeakSeen seen = peak_seen();
  if (is_due()) {
    const Quad told = std::bit_cast<Quad>(slots_[s_.slot].told);
    s_.mix.learn(*plan_, grounds_of(s_.slot, horizon_), told, seen,
                 loss_kept());
    s_.truth.learn(*plan_, told, seen);
  }
  s_.experts.observe(step.most);
  s_.season.observe(step.most, horizon_);
  tell(seen.most);
}

void PeakQuantiles::skip() {
  note({.most = s_.experts.last(), .least = 0}, false);
  s_.season.skip(s_.experts.last(), horizon_);
  tell(peak_seen().most);
}

void PeakQuantiles::tell(float trailing) {
  const bool seasonal = period() > 0;
  const bool was_seasonal = (s_.seasonal & 1) != 0;
  if (seasonal && !was_seasonal) s_.mix.welcome_season();
  if (!seasonal && was_seasonal) s_.mix.dismiss_season();
  s_.seasonal = newest_first(s_.seasonal, seasonal);
  const View view = s_.experts.view(horizon_, trailing);
  const SeasonView season_view = seasonal ? s_.season.view(view) : SeasonView{};
  const Quad told =
      s_.mix.tell(*plan_, {view, seasonal ? &season_view : nullptr},
                  kTopSpare * s_.experts.top());
  slots_[s_.slot] = {std::bit_cast<std::array<float, 4>>(told), view};
  if (seasonal) season_views_[s_.slot] = season_view;
  if (++s_.slot == horizon_) s_.slot = 0;
}

std::size_t PeakQuantiles::state_bytes() const {
  return sizeof(State) +
         horizon_ * (sizeof(PeakSeen) + sizeof(Slot) + sizeof(SeasonView));
}

void PeakQuantiles::save(std::span<std::byte> state) const {
  assert(state.size() == state_bytes());
  std::byte* at = state.data();
  const auto put = [&at](const void* from, std::size_t count) {
    std::memcpy(at, from, count);
    at += count;
  };
  put(&s_, sizeof(State));
  put(steps_.get(), horizon_ * sizeof(PeakSeen));
  put(slots_.get(), horizon_ * sizeof(Slot));
  put(season_views_.get(), horizon_ * sizeof(SeasonView));
}

bool PeakQuantiles::is_sound(const State& state) const {
  return state.slot < horizon_ && state.values <= horizon_ + 1 &&
         state.truth.is_sound() && state.experts.is_sound() &&
         state.mix.is_sound() && state.season.is_sound();
}

bool PeakQuantiles::Slot::is_sound() const {
  return all_within(std::bit_cast<Quad>(told), kFigureMost) && view.is_sound();
}

bool PeakQuantiles::load(std::span<const std::byte> bytes) {
  assert(bytes.size() == state_bytes());
  State state;
  std::array<PeakSeen, kHorizonMax> steps;
  std::array<Slot, kHorizonMax> slots;
  std::array<SeasonView, kHorizonMax> season_views;
  const std::byte* at = bytes.data();
  const auto get = [&at](void* to, std::size_t count) {
    std::memcpy(to, at, count);
    at += count;
  };
  get(&state, sizeof(State));
  get(steps.data(), horizon_ * sizeof(PeakSeen));
  get(slots.data(), horizon_ * sizeof(Slot));
  get(season_views.data(), horizon_ * sizeof(SeasonView));
  if (!is_sound(state)) return false;
  for (std::uint32_t i = 0; i < horizon_; ++i) {
    if (!steps[i].is_sound() || !slots[i].is_sound() ||
        !season_views[i].is_sound()) {
      return false;
    }
  }
  s_ = state;
  std::copy_n(steps.begin(), horizon_, steps_.get());
  std::copy_n(slots.begin(), horizon_, slots_.get());
  std::copy_n(season_views.begin(), horizon_, season_views_.get());
  return true;
}

}  // namespace outrider
