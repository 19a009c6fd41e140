// SPDX-License-Identifier: Apache-2.0
// Quantiles of the peak over the next horizon, of a series of any unit.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "agent/core/expert_mix.h"
#include "agent/core/forecast_experts.h"
#include "agent/core/forecast_truth.h"
#include "agent/core/forecaster.h"
#include "agent/core/season_experts.h"

namespace outrider {

/// One series. Told each step what it was, it tells what the peak of the next
/// ones will not be above, for each quantile of its plan.
/// Property: of any unit; what it tells rises from quantile to quantile, is
/// finite and not negative, and is right as often as it says.
/// Invariant: deterministic; allocates when it is made, never after.
class PeakQuantiles {
 public:
  /// `plan` is kept by reference. `horizon`: steps, 1 .. kHorizonMax
  /// (asserted), as the plan's.
  PeakQuantiles(const MixPlan& plan, std::uint32_t horizon);

  /// The first value; `prior`: what may be above it.
  void start(float value, float prior);
  bool is_started() const { return s_.values > 0; }

  /// The next step. Shape: finite, 0 .. 1e15.
  void observe(PeakSeen step);
  /// A step of which nothing was seen. What is told holds.
  void skip();

  /// As of the last step. Shape: by the plan's quantiles.
  Quad told() const { return std::bit_cast<Quad>(slots_[last_slot()].told); }
  const ExpertMix& mix() const { return s_.mix; }
  const ForecastTruth& truth() const { return s_.truth; }
  /// What was told last was told on them.
  Grounds grounds() const { return grounds_of(last_slot(), 1); }
  float last() const { return s_.experts.last(); }
  /// In steps; 0: no season is believed in.
  float period() const { return s_.season.period(); }
  /// As Forecaster::ponder.
  bool ponder(SeasonSearch& search, LikelyPeriod likely) {
    return s_.season.ponder(search, horizon_, likely);
  }
  /// As Forecaster::prefetch.
  void prefetch() const;

  /// As Forecaster's, without a checksum: `state` is one of a series with the
  /// same horizon.
  std::size_t state_bytes() const;
  /// As Forecaster::save.
  void save(std::span<std::byte> state) const;
  /// False, and nothing has changed: these bytes are no such state. They may
  /// come from elsewhere. Shape: state_bytes().
  bool load(std::span<const std::byte> state);

 private:
  /// A forecast that waits for its truth. Invariant: without padding, so what
  /// was told is in no Quad, whose alignment would need some.
  struct Slot {
    std::array<float, 4> told{};
    View view;

    bool is_sound() const;
  };
  /// All that is learned but the slots and steps. What is touched while no
  /// season is believed in is ahead of what is not. Invariant: trivially
  /// copyable and without padding, its bytes are the saved state.
  struct State {
    ForecastTruth truth;
    Experts experts;
    std::uint16_t slot = 0;      // the next step's, below the horizon
    std::uint16_t values = 0;    // seen so far; stops above the horizon
    std::uint16_t unseen = 0;    // of the last 16 steps, the newest in bit 0
    std::uint16_t seasonal = 0;  // of what was told at them, likewise
    ExpertMix mix;
    SeasonExperts season;
    std::uint32_t unused = 0;  // fills up to the quads' alignment
  };

  std::uint32_t last_slot() const {
    return (s_.slot == 0 ? horizon_ : s_.slot) - 1;
  }
  /// Of what was told `ago` steps ago, which waits there.
  Grounds grounds_of(std::uint32_t slot, std::uint32_t ago) const {
    const bool seasonal = (s_.seasonal >> (ago - 1) & 1) != 0;
    return {slots_[slot].view, seasonal ? &season_views_[slot] : nullptr};
  }
  bool is_sound(const State& state) const;
  void note(PeakSeen step, bool is_seen);
  bool is_due() const;
  PeakSeen peak_seen() const;
  float loss_kept() const;
  void tell(float trailing);

  const MixPlan* plan_;
  std::uint32_t horizon_;
  State s_;
  // Of the last horizon. Apart from each other: each step reads all steps.
  std::unique_ptr<PeakSeen[]> steps_;
  std::unique_ptr<Slot[]> slots_;
  std::unique_ptr<SeasonView[]> season_views_;  // by slot
};

}  // namespace outrider
