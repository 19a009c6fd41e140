// SPDX-License-Identifier: Apache-2.0
// Ours, of the agent's own code.
#pragma once

#include "agent/eval/method.h"

namespace outrider::eval {

/// The forecaster that the agent runs, one step ahead; its knob is the
/// quantile.
MethodRow outrider_row();

}  // namespace outrider::eval
