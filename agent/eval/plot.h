// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>

#include "agent/eval/score.h"

namespace outrider::eval {

/// An SVG: over-allocation over violations, a line a method, over the whole
/// range of its knob; both axes logarithmic, both better towards 0.
std::string plot_curves(const std::string& title,
                        std::span<const Curve> curves);

}  // namespace outrider::eval
