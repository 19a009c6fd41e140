// SPDX-License-Identifier: Apache-2.0
// The bytes of a record's payload: LEB128 varints, zigzag for signed ones.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace outrider {

/// Appends to a buffer that the caller owns.
class ByteWriter {
 public:
  explicit ByteWriter(std::vector<std::byte>& out) : out_(out) {}

  void u8(std::uint8_t value) { out_.push_back(std::byte{value}); }
  void varint(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) {
      u8(static_cast<std::uint8_t>(value | 0x80));
    }
    u8(static_cast<std::uint8_t>(value));
  }
  /// The way from `before` to `after`, short in either direction.
  void step(std::uint64_t before, std::uint64_t after) {
    const std::uint64_t way = after - before;
    varint((way << 1) ^ ((way >> 63) != 0 ? ~std::uint64_t{0} : 0));
  }
  void text(std::string_view value) {
    varint(value.size());
    for (const char c : value) out_.push_back(static_cast<std::byte>(c));
  }

 private:
  std::vector<std::byte>& out_;
};

/// Reads what ByteWriter wrote, from bytes that may be anything.
/// Invariant: once something did not fit, ok() is false, and every read after
/// it gives 0 and moves nothing.
class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  bool ok() const { return ok_; }
  bool done() const { return ok_ && bytes_.empty(); }
  std::size_t left() const { return bytes_.size(); }
  void reject() {
    ok_ = false;
    bytes_ = {};
  }

  std::uint8_t u8() {
    if (bytes_.empty()) {
      reject();
      return 0;
    }
    const auto value = std::to_integer<std::uint8_t>(bytes_.front());
    bytes_ = bytes_.subspan(1);
    return value;
  }
  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      const std::uint8_t next = u8();
      value |= std::uint64_t{next & 0x7FU} << shift;
      if ((next & 0x80U) == 0) return value;
    }
    reject();  // longer than any 64-bit value
    return 0;
  }
  std::uint64_t step(std::uint64_t before) {
    const std::uint64_t coded = varint();
    return before + ((coded >> 1) ^ ((coded & 1) != 0 ? ~std::uint64_t{0} : 0));
  }
  /// Values of 32 bits.
  std::uint32_t varint32() { return narrow(varint()); }
  std::uint32_t step32(std::uint64_t before) { return narrow(step(before)); }
  /// A count of things that take at least a byte each.
  std::size_t count(std::size_t most) {
    const std::uint64_t value = varint();
    if (value <= most && value <= left()) {
      return static_cast<std::size_t>(value);
    }
    reject();
    return 0;
  }
  std::string text(std::size_t most) {
    const std::size_t size = count(most);
    std::string value;
    for (std::size_t i = 0; i < size; ++i) value += static_cast<char>(u8());
    return value;
  }

 private:
  std::uint32_t narrow(std::uint64_t value) {
    if (value >> 32 != 0) reject();
    return static_cast<std::uint32_t>(value);
  }

  std::span<const std::byte> bytes_;
  bool ok_ = true;
};

}  // namespace outrider
