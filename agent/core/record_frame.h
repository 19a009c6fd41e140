// SPDX-License-Identifier: Apache-2.0
// What every record of ours looks like on file, whatever is in it:
//
//   length u32, CRC-32C u32 of the length and the payload, payload
//
// and the header of a file: a magic of 8 bytes, version u16, 0 u16, CRC-32C u32
// of these 12. Fixed numbers are little-endian.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "agent/base/crc32c.h"

namespace outrider {

// 1,000 VMs make key Samples of about 200 KiB. Bounds what a reader holds.
inline constexpr std::size_t kRecordBytesMax = std::size_t{16} << 20;
inline constexpr std::size_t kHeaderBytes = 16;
inline constexpr std::size_t kFrameBytes = 8;  // length and checksum

/// Why a file can be read no further.
enum class RecordDamage : std::uint8_t {
  kForeign,       // no such file at all
  kOtherVersion,  // of its format
  kTorn,          // ends within a record
  kLength,        // a length that no record has
  kChecksum,      // bytes were altered
  kSenseless,     // intact, but no record that this version writes
};

/// E.g. "torn: the file ends within a record".
const char* to_text(RecordDamage damage);

inline void put_fixed(std::uint32_t value, std::span<std::byte> at) {
  for (std::size_t i = 0; i < at.size(); ++i) {
    at[i] = static_cast<std::byte>((value >> (8 * i)) & 0xFF);
  }
}

inline std::uint32_t get_fixed(std::span<const std::byte> at) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < at.size(); ++i) {
    value |= std::to_integer<std::uint32_t>(at[i]) << (8 * i);
  }
  return value;
}

/// Appends a file's header. Shape: `magic` is of 8 bytes.
inline void put_header(std::string_view magic, std::uint16_t version,
                       std::vector<std::byte>& out) {
  std::array<std::byte, kHeaderBytes> header{};
  for (std::size_t i = 0; i < magic.size(); ++i) {
    header[i] = static_cast<std::byte>(magic[i]);
  }
  const std::span<std::byte> all(header);
  put_fixed(version, all.subspan(8, 2));
  put_fixed(crc32c(all.first(12)), all.subspan(12));
  out.insert(out.end(), header.begin(), header.end());
}

/// What is wrong with the header that `bytes` begin with, if anything.
inline std::optional<RecordDamage> check_header(
    std::span<const std::byte> bytes, std::string_view magic,
    std::uint16_t version) {
  const std::size_t known = std::min(bytes.size(), magic.size());
  for (std::size_t i = 0; i < known; ++i) {
    if (bytes[i] != static_cast<std::byte>(magic[i])) {
      return RecordDamage::kForeign;
    }
  }
  if (bytes.size() < kHeaderBytes) return RecordDamage::kTorn;
  if (get_fixed(bytes.subspan(12, 4)) != crc32c(bytes.first(12))) {
    return RecordDamage::kChecksum;
  }
  if (get_fixed(bytes.subspan(8, 2)) != version)
    return RecordDamage::kOtherVersion;
  return std::nullopt;
}

/// Leaves room for the frame; finish_record() fills it in.
inline std::size_t begin_record(std::uint8_t type,
                                std::vector<std::byte>& out) {
  const std::size_t start = out.size();
  out.resize(start + kFrameBytes);
  out.push_back(std::byte{type});
  return start;
}

/// The checksum of a frame's length and of its payload.
inline std::uint32_t frame_checksum(std::span<const std::byte> frame,
                                    std::span<const std::byte> payload) {
  return crc32c(payload, crc32c(frame.first(4)));
}

/// False, and `out` is as before begin_record(), if the record is too long.
inline bool finish_record(std::size_t start, std::vector<std::byte>& out) {
  const std::size_t length = out.size() - start - kFrameBytes;
  if (length > kRecordBytesMax) {
    out.resize(start);
    return false;
  }
  const std::span<std::byte> record = std::span(out).subspan(start);
  put_fixed(static_cast<std::uint32_t>(length), record.first(4));
  put_fixed(frame_checksum(record, record.subspan(kFrameBytes)),
            record.subspan(4, 4));
  return true;
}

/// The payload of the record that `rest` begins with, or what is wrong with it
/// (and then the payload is empty).
struct FramedRecord {
  std::span<const std::byte> payload;
  std::optional<RecordDamage> damage;
};
inline FramedRecord take_record(std::span<const std::byte> rest) {
  if (rest.size() < kFrameBytes) return {{}, RecordDamage::kTorn};
  const std::size_t length = get_fixed(rest.first(4));
  if (length == 0 || length > kRecordBytesMax) {
    return {{}, RecordDamage::kLength};
  }
  if (length > rest.size() - kFrameBytes) return {{}, RecordDamage::kTorn};
  const std::span<const std::byte> payload = rest.subspan(kFrameBytes, length);
  if (get_fixed(rest.subspan(4, 4)) != frame_checksum(rest, payload)) {
    return {{}, RecordDamage::kChecksum};
  }
  return {payload, std::nullopt};
}

}  // namespace outrider
