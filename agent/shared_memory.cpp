// SPDX-License-Identifier: Apache-2.0
#include "agent/shared_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace outrider {
namespace {

constexpr std::size_t kPage = EYES_PAGE_BYTES;

// Slots are made accessible by this many at once: whole pages of both arrays.
constexpr std::uint32_t kStep = 256;
static_assert(kStep * sizeof(eyes_thread) % kPage == 0);
static_assert(kStep * sizeof(eyes_vcpu) % kPage == 0);
static_assert(EYES_THREADS_MAX % kStep == 0);

// Gives the pages back but keeps the addresses: nothing else may come to live
// where later pages go, and where the skeleton unmaps in the end.
void let_go(void* address, std::size_t bytes) {
  if (mmap(address, bytes, PROT_NONE,
           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
           0) == MAP_FAILED) {
    // They stay mapped, which costs memory and nothing else.
    perror("outriderd: unmap what is not used");
  }
}

}  // namespace

SharedMemory::SharedMemory(const Layout& layout) : layout_(layout) {
  let_go(layout.index, EYES_PIDS_MAX * sizeof(*layout.index));
  let_go(layout.threads, EYES_THREADS_MAX * sizeof(*layout.threads));
  let_go(layout.vcpus, EYES_THREADS_MAX * sizeof(*layout.vcpus));
}

bool SharedMemory::map_at(void* address, std::size_t bytes) {
  const auto offset = static_cast<char*>(address) - layout_.base;
  return mmap(address, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
              layout_.map_fd, offset) != MAP_FAILED;
}

bool SharedMemory::reach(std::uint32_t slot) {
  while (slot >= reached_) {
    if (reached_ == EYES_THREADS_MAX) return false;
    const bool mapped =
        map_at(layout_.threads + reached_, kStep * sizeof(eyes_thread)) &&
        map_at(layout_.vcpus + reached_, kStep * sizeof(eyes_vcpu));
    if (!mapped) return false;
    reached_ += kStep;
  }
  return true;
}

__u16& SharedMemory::index(pid_t tid) {
  constexpr std::size_t kPerPage = kPage / sizeof(__u16);
  const std::size_t entry = static_cast<std::size_t>(tid) % EYES_PIDS_MAX;
  char* page =
      reinterpret_cast<char*>(layout_.index + entry / kPerPage * kPerPage);
  if (page != page_) {
    if (page_ != nullptr) let_go(page_, kPage);
    page_ = map_at(page, kPage) ? page : nullptr;
    if (page_ == nullptr) {
      // One page, where there was one: an invariant of ours is broken.
      perror("outriderd: map the pid index");
      abort();
    }
  }
  return layout_.index[entry];
}

}  // namespace outrider
