// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <string>

namespace outrider {

/// Gone with all that is in it.
class TemporaryDir {
 public:
  TemporaryDir() { EXPECT_NE(::mkdtemp(path_.data()), nullptr); }
  TemporaryDir(const TemporaryDir&) = delete;
  TemporaryDir& operator=(const TemporaryDir&) = delete;
  ~TemporaryDir() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_ = "/tmp/outrider-unit-XXXXXX";
};

}  // namespace outrider
