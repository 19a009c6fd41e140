// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/shell/allocations.h"

#include <atomic>
#include <cstdlib>
#include <new>

namespace outrider {
namespace {
std::atomic<std::uint64_t> count{0};
}  // namespace

std::uint64_t allocations() { return count; }
void count_allocation() { ++count; }

}  // namespace outrider

void* operator new(std::size_t size) {
  outrider::count_allocation();
  void* memory = std::malloc(size);
  if (memory == nullptr) std::abort();
  return memory;
}
// std::stable_sort asks for its memory so.
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  outrider::count_allocation();
  return std::malloc(size);
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
