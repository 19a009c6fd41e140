// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "agent/base/result.h"
#include "agent/horizon/rollup.h"
#include "agent/sys/fd.h"

namespace outrider {

/// The roll-ups of VMs in their directory, DIR/UUID.rollup.
/// Invariant: a file is a whole roll-up whenever the agent ends: it is written
/// beside its place, as UUID.new, and then put there. Nothing is synced: after
/// a loss of power one may be damaged, which costs no more than it held.
class RollupFiles {
 public:
  /// Digits of a UUID, in groups or not: a name that means nothing else to a
  /// directory.
  static bool is_name(std::string_view uuid);

  /// Makes `directory`, mode 0700, if it is not there. Errors: it cannot be
  /// made or opened.
  static Result<RollupFiles> open(const std::string& directory);

  /// An empty one where there is no file. Errors: it cannot be read; what it
  /// holds is no roll-up (code 0), or one of another version (ENOTSUP).
  Result<Rollup> read(std::string_view uuid) const;
  /// Errors: it cannot be written; the file before stays as it was.
  Result<> write(std::string_view uuid, const Rollup& rollup) const;
  /// Removes those that were last written more than 14 days before `now`; how
  /// many. What is no roll-up's name is left alone.
  std::size_t remove_old(std::int64_t now_unix_seconds) const;

 private:
  explicit RollupFiles(Fd directory) : directory_(std::move(directory)) {}

  Fd directory_;
};

}  // namespace outrider
