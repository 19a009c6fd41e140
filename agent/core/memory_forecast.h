// SPDX-License-Identifier: Apache-2.0
// How much a VM's memory is about to grow, and how much its guest needs.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "agent/base/units.h"
#include "agent/core/peak_quantiles.h"

namespace outrider {

/// Two series of steps of a second: by how much the host's memory grew within
/// the last horizon, and what the guest uses. Foreseen is the peak of each over
/// the next horizon: the 99th percentile.
///
/// A ramp that has only begun is in neither: what grew within the last second
/// is taken to go on for the horizon.
/// Invariant: figures are finite and not negative; allocates when it is made,
/// never after.
class MemoryForecast {
 public:
  /// `horizon`: 2 to kHorizonMax seconds (asserted).
  explicit MemoryForecast(Duration horizon);

  /// Any number of times a second, `now` rising. `used`: below 0 while it is
  /// not known.
  void observe(Instant now, Bytes resident, Bytes used);
  /// Nothing was seen. What is told holds.
  void skip(Instant now);

  /// Of the host's memory, over the horizon.
  Bytes growth() const;
  /// What of it is a ramp that goes on now.
  Bytes ramp() const;
  /// By the guest at most, over the horizon; 0 until it is known.
  Bytes used() const;

  /// As Forecaster::ponder, of both series in turn. True: both are through.
  bool ponder(SeasonSearch& search);

 private:
  void finish_steps(Instant now);
  void step();

  std::uint32_t horizon_;
  PeakQuantiles growth_;
  PeakQuantiles used_;
  Instant step_ends_{};
  // Within the step that is open, in MiB.
  float least_ = 0;
  float most_ = 0;
  float used_most_ = -1;
  bool has_seen_ = false;
  float last_ = 0;        // resident
  float second_ago_ = 0;  // likewise, at the end of the step before
  float rate_ = 0;        // of growth, a second
  bool pondering_used_ = false;
  std::array<float, kHorizonMax> least_of_{};  // of the last steps
  std::size_t steps_ = 0;                      // ever, as far as it matters
};

}  // namespace outrider
