// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "agent/base/result.h"

namespace outrider {

/// Makes the calling thread one that a busy host does not keep waiting:
/// SCHED_FIFO of `priority` (children start as ordinary), and memory that is
/// not paged out. A loop that never sleeps is ended by the kernel after a
/// second (RLIMIT_RTTIME).
/// Errors: no CAP_SYS_NICE, or the cgroup has no real-time budget.
Result<> prioritise_loop(int priority);

}  // namespace outrider
