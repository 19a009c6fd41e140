// SPDX-License-Identifier: Apache-2.0
// Samples and VMs to a compact file and back: `outrider record`. Pure: bytes to
// values; files are the shell's.
//
//   file     header ("OUTRIDER"), record ...; see record_frame.h
//   payload  type u8: 1 VM came, 2 VM went, 3 key Sample, 4 Sample
//
// All numbers are varints. A key Sample stands alone; any other is the
// difference to the Sample before it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "agent/base/result.h"
#include "agent/base/units.h"
#include "agent/core/record_frame.h"
#include "agent/core/sample.h"

namespace outrider {

inline constexpr std::uint16_t kRecordVersion = 1;
inline constexpr std::size_t kRecordTextMax = 4'096;  // PATH_MAX
inline constexpr std::uint32_t kKeyEvery = 256;       // Samples

struct CameVm {
  VmId id{};
  std::string name;
  std::string uuid;    // empty when unknown
  std::string cgroup;  // path below the cgroup v2 mount
  std::int32_t pid = 0;

  friend bool operator==(const CameVm&, const CameVm&) = default;
};

struct WentVm {
  VmId id{};

  friend bool operator==(const WentVm&, const WentVm&) = default;
};

/// Appends records to buffers that the caller owns and writes out.
/// Invariant: `base_` is the Sample that the record after this one differs
/// from. Allocates for a buffer that is too small, at key Samples, and where
/// the VMs or threads are not those of the Sample before.
class RecordWriter {
 public:
  /// Every `key_every`-th Sample is a key Sample; 1 or more.
  explicit RecordWriter(std::uint32_t key_every = kKeyEvery);

  /// Begins a file. The next Sample is a key Sample.
  void header(std::vector<std::byte>& out);

  /// Errors: a text of more than kRecordTextMax bytes. `out` is as it was then.
  Result<> came(const CameVm& vm, std::vector<std::byte>& out);
  /// Appends that the VM went. Errors: none.
  void went(const WentVm& vm, std::vector<std::byte>& out);

  /// Errors: more VMs, threads or bytes than the format holds; ranges outside
  /// the Sample's arrays. `out` is as it was then.
  Result<> sample(const Sample& sample, std::vector<std::byte>& out);

 private:
  std::uint32_t key_every_;
  std::uint32_t until_key_ = 0;
  Sample base_;
};

/// Reads a whole file's bytes, which may be anything and must outlive it.
/// Invariant: everything that next() gave came from intact records. Memory is
/// bounded by the format's limits, whatever lengths the bytes claim.
class RecordReader {
 public:
  /// The Sample is the reader's own, valid until the next call.
  using Entry = std::variant<CameVm, WentVm, const Sample*>;

  explicit RecordReader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  /// The next record; none at the end, or at damage, which is then set.
  std::optional<Entry> next();

  const std::optional<RecordDamage>& damage() const { return damage_; }
  /// Where the next record begins, or the damaged one does.
  std::size_t offset() const { return offset_; }

 private:
  std::optional<Entry> decode(std::span<const std::byte> payload);
  std::optional<Entry> stop(RecordDamage damage);

  std::span<const std::byte> bytes_;
  std::size_t offset_ = 0;
  bool has_key_ = false;
  std::optional<RecordDamage> damage_;
  Sample base_;
};

}  // namespace outrider
