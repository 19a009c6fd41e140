// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

namespace outrider {

/// A hint: these bytes are to be read and written soon.
inline void prefetch_lines(const void* begin, std::size_t bytes) {
  constexpr std::size_t kLine = 64;  // of the processor's cache
  const char* line = static_cast<const char*>(begin);
  for (std::size_t at = 0; at < bytes; at += kLine) {
    __builtin_prefetch(line + at, 1);
  }
}

}  // namespace outrider
