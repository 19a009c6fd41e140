// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

namespace outrider {

/// Calls of operator new by this binary so far.
std::size_t allocations();

}  // namespace outrider
