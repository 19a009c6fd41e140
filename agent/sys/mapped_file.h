// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "agent/base/result.h"

namespace outrider {

struct Unmap {
  std::size_t size = 0;
  void operator()(std::byte* bytes) const;
};

/// A file's bytes, read as they are needed.
struct MappedFile {
  std::unique_ptr<std::byte, Unmap> bytes;
  std::span<const std::byte> span() const {
    return {bytes.get(), bytes.get_deleter().size};
  }
};

/// Errors: the text begins with `path`.
Result<MappedFile> map_file(const std::string& path);

}  // namespace outrider
