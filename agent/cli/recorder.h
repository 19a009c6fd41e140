// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "agent/base/result.h"
#include "agent/core/record.h"
#include "agent/core/sample.h"
#include "agent/sys/fd.h"
#include "agent/vm.h"

namespace outrider {

/// Writes Samples, and which VMs come and go, to a new record file.
/// Invariant: the file holds whole records only, as long as writing succeeds.
class Recorder {
 public:
  enum class Overwrite : std::uint8_t { kNo, kYes };

  /// Errors: code EEXIST when the file is there and must not be overwritten.
  static Result<Recorder> open(const std::string& path, Overwrite overwrite);

  /// To be told before the first Sample that has them.
  Result<> identify(const std::vector<Vm>& vms);
  Result<> add(const Sample& sample);

  std::uint64_t samples() const { return samples_; }
  std::uint64_t bytes() const { return bytes_; }

 private:
  explicit Recorder(Fd fd) : fd_(std::move(fd)) {}
  Result<> write_out();

  Fd fd_;
  RecordWriter writer_;
  std::vector<std::byte> buffer_;
  std::vector<VmId> known_;  // sorted
  std::uint64_t samples_ = 0;
  std::uint64_t bytes_ = 0;
};

}  // namespace outrider
