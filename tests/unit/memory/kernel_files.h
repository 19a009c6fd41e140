// SPDX-License-Identifier: Apache-2.0
// Files as real kernels wrote them: tests/data/memory.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>

namespace outrider {

/// `name` is "6.1/zoneinfo".
inline std::string kernel_file(const std::string& name) {
  std::ifstream file(std::string{MEMORY_FILES} + "/" + name);
  EXPECT_TRUE(file.is_open()) << name;
  return {std::istreambuf_iterator<char>{file}, {}};
}

}  // namespace outrider
