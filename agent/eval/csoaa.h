// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <memory>

#include "agent/eval/method.h"

namespace outrider::eval {

/// What too little costs against too much.
inline constexpr std::array<double, 9> kCostRatios = {1,  2,  4,   8,  16,
                                                      32, 64, 128, 256};

/// Cost-sensitive one-against-all over 20 levels with linear regressors, as
/// SmartHarvest (Wang et al. 2021) has it.
std::unique_ptr<Method> make_csoaa();

}  // namespace outrider::eval
