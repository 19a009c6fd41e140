// SPDX-License-Identifier: Apache-2.0
#include "agent/loop_thread.h"

#include <link.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
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
  return {};
}

// On fault: what is never touched (most of the shared memory) stays unmapped.
Result<> lock_memory() {
  if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0) {
    return fail(errno, "mlockall");
  }
  return {};
}

// Code and constants, which come from their files again: no segment that was
// ever writable, for what the linker relocated in it would be lost.
void drop_idle_pages() {
  const auto drop = [](dl_phdr_info* object, std::size_t, void*) {
    const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
    for (int i = 0; i < object->dlpi_phnum; ++i) {
      const auto& segment = object->dlpi_phdr[i];
      if (segment.p_type != PT_LOAD || (segment.p_flags & PF_W) != 0) continue;
      const std::uintptr_t begin = object->dlpi_addr + segment.p_vaddr;
      const std::uintptr_t from = begin / page * page;
      // The kernel's own word for an address in a number.
      auto* at = reinterpret_cast<void*>(from);  // NOLINT(performance-*)
      // Refused for what is no file's, as the vDSO.
      (void)madvise(at, begin + segment.p_memsz - from, MADV_DONTNEED);
    }
    return 0;
  };
  dl_iterate_phdr(drop, nullptr);
}

}  // namespace outrider
