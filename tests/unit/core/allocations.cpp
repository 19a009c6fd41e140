// SPDX-License-Identifier: Apache-2.0
// In a file of its own, so that no caller sees into it and pairs up new with
// free.
#include "tests/unit/core/allocations.h"

#include <cstdlib>
#include <new>

namespace {
std::size_t g_allocations = 0;  // the tests have one thread
}  // namespace

void* operator new(std::size_t size) {
  ++g_allocations;
  void* memory = std::malloc(size == 0 ? 1 : size);
  if (memory == nullptr) std::abort();
  return memory;
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return ::operator new(size);
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace outrider {

std::size_t allocations() { return g_allocations; }

}  // namespace outrider
