// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#ifdef __x86_64__
#include <nmmintrin.h>
#endif

namespace outrider {
namespace crc32c_ways {

using Table = std::array<std::uint32_t, 256>;

/// [k][b]: what byte b does to the sum k further bytes later.
constexpr std::array<Table, 8> make() {
  constexpr std::uint32_t kPolynomial = 0x82F63B78;  // Castagnoli, reversed
  std::array<Table, 8> tables{};
  for (std::uint32_t b = 0; b < 256; ++b) {
    std::uint32_t crc = b;
    for (int bit = 0; bit < 8; ++bit) {
      crc = (crc >> 1) ^ ((crc & 1) != 0 ? kPolynomial : 0);
    }
    tables[0][b] = crc;
  }
  for (std::size_t k = 1; k < tables.size(); ++k) {
    for (std::size_t b = 0; b < 256; ++b) {
      const std::uint32_t before = tables[k - 1][b];
      tables[k][b] = (before >> 8) ^ tables[0][before & 0xFF];
    }
  }
  return tables;
}

inline constexpr std::array<Table, 8> kTables = make();

/// Both ways go on from `crc`, which is not inverted at either end.
inline std::uint32_t by_table(std::span<const std::byte> bytes,
                              std::uint32_t crc) {
  while (bytes.size() >= 8) {  // eight look-ups that do not wait for each other
    std::uint32_t next = 0;
    for (std::size_t i = 0; i < 8; ++i) {
      const std::uint32_t mixed = i < 4 ? (crc >> (8 * i)) & 0xFF : 0;
      next ^= kTables[7 - i][mixed ^ std::to_integer<std::uint32_t>(bytes[i])];
    }
    crc = next;
    bytes = bytes.subspan(8);
  }
  for (const std::byte byte : bytes) {
    crc = (crc >> 8) ^
          kTables[0][(crc & 0xFF) ^ std::to_integer<std::uint32_t>(byte)];
  }
  return crc;
}

#ifdef __x86_64__
/// One instruction for eight bytes. Asks for SSE4.2.
__attribute__((target("sse4.2"))) inline std::uint32_t by_processor(
    std::span<const std::byte> bytes, std::uint32_t crc) {
  while (bytes.size() >= 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes.data(), sizeof word);
    crc = static_cast<std::uint32_t>(_mm_crc32_u64(crc, word));
    bytes = bytes.subspan(8);
  }
  for (const std::byte byte : bytes) {
    crc = _mm_crc32_u8(crc, std::to_integer<std::uint8_t>(byte));
  }
  return crc;
}

inline const bool kHasInstruction = __builtin_cpu_supports("sse4.2") != 0;
#endif

}  // namespace crc32c_ways

/// CRC-32C (Castagnoli) of `bytes`, which may be empty. Give the result of the
/// bytes before as `crc` to go on from there.
/// Source: RFC 3720, appendix B.4, whose examples are the tests.
inline std::uint32_t crc32c(std::span<const std::byte> bytes,
                            std::uint32_t crc = 0) {
#ifdef __x86_64__
  if (crc32c_ways::kHasInstruction) {
    return ~crc32c_ways::by_processor(bytes, ~crc);
  }
#endif
  return ~crc32c_ways::by_table(bytes, ~crc);
}

}  // namespace outrider
