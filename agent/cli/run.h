// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace outrider {

/// `outrider` from its words to its exit code.
int run_outrider(int argc, const char* const* argv);

}  // namespace outrider
