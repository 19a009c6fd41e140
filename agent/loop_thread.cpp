// SPDX-License-Identifier: Apache-2.0
#include "agent/loop_thread.h"

#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <cerrno>
#include <string>

namespace outrider {

Result<> prioritise_loop(int priority) {
  const rlimit limit{.rlim_cur = 1'000'000, .rlim_max = 1'000'000};  // us
  if (setrlimit(RLIMIT_RTTIME, &limit) != 0)
    return fail(errno, "RLIMIT_RTTIME");
  const sched_param param{.sched_priority = priority};
  if (sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &param) != 0) {
    return fail(errno, "SCHED_FIFO " + std::to_string(priority));
  }
  // On fault: what is never touched (most of the shared memory) stays unmapped.
  if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0) {
    return fail(errno, "mlockall");
  }
  return {};
}

}  // namespace outrider
