// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <vector>

#include "agent/base/result.h"
#include "agent/sys/fd.h"

namespace outrider {

/// The journal's segments in its directory, DIR/BOOTTIME-NUMBER.journal, where
/// the number rises from file to file.
/// Invariant: all of them together hold at most `bytes_max`: the oldest goes
/// before a byte more is written.
class JournalFiles {
 public:
  /// Makes `directory`, mode 0700, if it is not there. Errors: it cannot be
  /// made or read.
  static Result<JournalFiles> open(const std::string& directory,
                                   std::uint64_t bytes_max);

  /// Ends the segment before, and begins one. Errors: of open(2).
  Result<> begin();
  /// Appends whole records to the segment. Errors: of write(2), code EFBIG
  /// where even the one segment would be larger than all may be; the segment
  /// holds the records before, and is ended.
  Result<> write(std::span<const std::span<const std::byte>> parts);
  /// Nothing is written to the segment any more.
  void end() { file_ = Fd{}; }

  bool has_segment() const { return static_cast<bool>(file_); }
  std::uint64_t bytes() const { return bytes_; }

 private:
  struct Segment {
    std::uint64_t number = 0;
    std::uint64_t bytes = 0;
    std::string name;
  };

  JournalFiles(Fd directory, std::uint64_t bytes_max)
      : directory_(std::move(directory)), bytes_max_(bytes_max) {}
  bool make_room(std::uint64_t bytes);
  Result<> put(std::span<const std::byte> bytes);

  Fd directory_;
  Fd file_;
  std::uint64_t bytes_max_ = 0;
  std::uint64_t bytes_ = 0;         // of all segments
  std::deque<Segment> segments_;    // the oldest first
  std::uint64_t boot_seconds_ = 0;  // since 1970
};

/// The segments in a directory, the oldest first, as paths.
Result<std::vector<std::string>> find_segments(const std::string& directory);

}  // namespace outrider
