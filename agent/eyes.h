// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>

#include "bpf/records.h"

namespace outrider {

/// The memory that the BPF programs and this process share. In tests and
/// benchmarks it is memory of their own.
struct Eyes {
  eyes_thread* threads = nullptr;  // shape [EYES_THREADS_MAX]
  eyes_vcpu* vcpus = nullptr;      // shape [EYES_THREADS_MAX]
  eyes_vm* vms = nullptr;          // shape [EYES_VMS_MAX]
  __u16* free_slots = nullptr;     // shape [EYES_THREADS_MAX]
  __u32* free_head = nullptr;
  __u32* free_tail = nullptr;
  __u32* serial_last = nullptr;
  __u32* generation = nullptr;
  const eyes_clock* clock_pair = nullptr;
  const eyes_lost* lost = nullptr;
  // The entry of a thread in the index by pid; valid until the next call.
  std::function<__u16&(pid_t tid)> index;
  // Makes threads[] and vcpus[] up to `slot` accessible, and stays so. False:
  // no memory.
  std::function<bool(std::uint32_t slot)> reach;
};

}  // namespace outrider
