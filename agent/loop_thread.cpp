// SPDX-License-Identifier: Apache-2.0
#include "agent/loop_thread.h"

#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <cerrno>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <string>
#include <string_view>

namespace outrider {

Result<> prioritise_loop(int priority) {
  const rlimit limit{.rlim_cur = 1'000'000, .rlim_max = 1'000'000};  // us
  if (setrlimit(RLIMIT_RTTIME, &limit) != 0)
    return fail(errno, "RLIMIT_RTTIME");
  const sched_param param{.sched_priority = priority};
  if (sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &param) != 0) {
    return fail(errno, "SCHED_FIFO " + std::to_string(priority));
  }
  return {};
}

// On fault: what is never touched (most of the shared memory) stays unmapped.
Result<> lock_memory() {
  if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0) {
    return fail(errno, "mlockall");
  }
  return {};
}

// Only what is executable and not writable: nothing in it can be lost.
void drop_idle_code() {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    std::uintptr_t begin = 0;
    std::uintptr_t end = 0;
    char flags[5] = {};
    if (std::sscanf(line.c_str(), "%" SCNxPTR "-%" SCNxPTR " %4s", &begin, &end,
                    flags) != 3 ||
        std::string_view(flags) != "r-xp" ||
        line.find('/') == std::string::npos) {
      continue;
    }
    // The kernel's own word for an address in a number.
    auto* at = reinterpret_cast<void*>(begin);  // NOLINT(performance-*)
    (void)madvise(at, end - begin, MADV_DONTNEED);
  }
}

}  // namespace outrider
