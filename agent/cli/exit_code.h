// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace outrider {

// Stable: scripts depend on them.
enum ExitCode : int {
  kExitOk = 0,
  kExitError = 1,
  kExitUsage = 2,
  kExitDegraded = 3,
  kExitRefused = 4,  // by role or policy
};

}  // namespace outrider
