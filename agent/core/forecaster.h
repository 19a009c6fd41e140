// SPDX-License-Identifier: Apache-2.0
// The seam to forecasting: quantiles of the peak over the next horizon.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "agent/base/units.h"

namespace outrider {

/// The quantiles that are tracked, in thousandths, rising.
inline constexpr std::array<std::int64_t, 4> kTausPermille = {500, 800, 950,
                                                              990};
inline constexpr std::size_t kTaus = kTausPermille.size();

/// One step's demand of one VM: at most `value` and at least `least`, which is
/// less while a busy period is open, as what it waits may prove to be delay.
struct Observation {
  MilliCpus value{};
  MilliCpus least{};
  bool missing = false;  // nothing was seen: the others say nothing
};

/// Quantiles of the peak over the next horizon. Invariant: none is negative,
/// none below the one before.
struct Forecast {
  std::array<MilliCpus, kTaus> peak{};
  std::uint32_t scored = 0;        // steps whose truth came in so far
  std::uint16_t season_steps = 0;  // 0: no season is believed in
};

inline constexpr std::size_t kExpertsMax = 8;

/// How a forecaster has done, of late mostly.
struct ForecastScore {
  struct Quantile {
    float covered = 0;  // share of the peaks that were not above it
    float spare = 0;    // what was above the peaks, by the peaks' sum
    float loss = 0;     // the pinball loss, likewise
  };
  std::array<Quantile, kTaus> quantiles{};
  // In the p950, as of now; see expert_name(). They sum to 1, or are none.
  std::array<float, kExpertsMax> weights{};
  // Since the start: rows of steps missed so often that it fell back to the
  // peak of late.
  std::uint32_t fallbacks = 0;
};

/// Where a period is likely, in steps: from `first` to `last`; both 0: nowhere.
struct LikelyPeriod {
  std::uint32_t first = 0;
  std::uint32_t last = 0;
};

class SeasonSearch;

/// One series. Deterministic: the same observations give the same forecasts,
/// bit for bit. Allocates nothing after it was made.
class Forecaster {
 public:
  virtual ~Forecaster() = default;

  /// The next step of an even clock. Missing steps are told, not left out.
  virtual void observe(Observation now) = 0;
  /// A hint: `observe` is to come soon. With thousands of series none is in the
  /// processor's cache any more when its turn comes.
  virtual void prefetch() const {}
  /// Of the peak over the next horizon, as of the last `observe`.
  virtual const Forecast& forecast() const = 0;
  /// Not for every tick.
  virtual ForecastScore score() const { return {}; }
  /// A bounded piece of the work that is not for every step, the search for a
  /// season; any number of calls is right, more find it sooner. True: it has
  /// come to its end; until then `search` is of this series. `likely`: what a
  /// longer memory of the same demand believes in; less stands for it then.
  virtual bool ponder(SeasonSearch& search, LikelyPeriod likely) = 0;

  /// All that was learned, as bytes that `load` takes on a machine of the same
  /// kind; of a size that never changes.
  virtual std::size_t state_bytes() const = 0;
  /// Into `state`, of state_bytes() bytes.
  virtual void save(std::span<std::byte> state) const = 0;
  /// False, and nothing changed, if the bytes are not such a state.
  virtual bool load(std::span<const std::byte> state) = 0;
};

/// The word for a place in ForecastScore::weights; "?" where there is none
/// such.
const char* expert_name(std::uint8_t expert);

}  // namespace outrider
