// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>

#include "agent/core/forecaster.h"

namespace outrider {

/// A forecaster of the peak over the next `horizon_steps` steps, 1 to
/// kHorizonMax (asserted): peak_quantiles.h in milli-CPU, with what a VM may
/// want before anything is known of it, and wider with each step missed.
/// Properties (each has a test): deterministic; quantiles rise and are never
/// negative; calibrated on noise and on bursts without a season; bursts with a
/// season are foreseen; a season is not seen in noise; state survives save and
/// load; allocates nothing.
/// Allocates: the forecaster, once.
std::unique_ptr<Forecaster> make_forecaster(std::uint32_t horizon_steps);

}  // namespace outrider
