// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "agent/base/result.h"
#include "agent/baseline/layout.h"

namespace outrider {

/// This boot's, as text.
Result<std::string> read_boot_id();

/// When a process started, in clock ticks after boot; 0: there is none.
/// With its pid this names a process for the whole of a boot.
std::uint64_t read_start_ticks(std::int32_t pid);

/// The table's file in memory, shared. Invariant: mapped whole.
class BaselineMapping {
 public:
  /// Errors: the file is shorter than a table.
  static Result<BaselineMapping> map(int fd);
  BaselineMapping(BaselineMapping&& other) noexcept;
  BaselineMapping& operator=(BaselineMapping other) noexcept;
  ~BaselineMapping();

  BaselineFile& file() const { return *file_; }
  /// Whether it is a table of this version and of this boot.
  bool is_of(const std::string& boot_id) const;
  /// Whether the agent that wrote it is still there.
  bool has_owner() const;

 private:
  explicit BaselineMapping(BaselineFile* file) : file_(file) {}
  BaselineFile* file_ = nullptr;
};

}  // namespace outrider
