// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "bpf/records.h"

namespace outrider {

/// The large arrays of the eyes' memory, mapped only as far as they are used:
/// the kernel maps a BPF array whole, and all of it would count as ours.
/// Invariant: slots up to reached_ are mapped, at the addresses they had.
class SharedMemory {
 public:
  struct Layout {
    int map_fd = -1;
    char* base = nullptr;  // where the map is mapped, whole
    __u16* index = nullptr;
    eyes_thread* threads = nullptr;
    eyes_vcpu* vcpus = nullptr;
  };
  /// Gives back what `layout` has mapped of the three arrays; the addresses go
  /// with the skeleton, which unmaps the whole range.
  explicit SharedMemory(const Layout& layout);
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  /// Valid until the next call.
  __u16& index(pid_t tid);
  bool reach(std::uint32_t slot);

 private:
  bool map_at(void* address, std::size_t bytes);

  Layout layout_;
  std::uint32_t reached_ = 0;  // slots, rounded up to whole pages
  char* page_ = nullptr;       // of the index, the one that is mapped
};

}  // namespace outrider
