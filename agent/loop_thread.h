// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "agent/base/result.h"

namespace outrider {

/// Makes the calling thread one that a busy host does not keep waiting:
/// SCHED_FIFO of `priority` (children start as ordinary). A loop that never
/// sleeps is ended by the kernel after a second (RLIMIT_RTTIME). Errors: no
/// CAP_SYS_NICE, or the cgroup has no real-time budget.
Result<> prioritise_loop(int priority);

/// Keeps what memory is touched from being paged out.
Result<> lock_memory();

/// Gives back the pages of code and constants that only the start needed; what
/// is used again comes back from the page cache by itself. Before lock_memory:
/// what is locked stays.
void drop_idle_pages();

}  // namespace outrider
