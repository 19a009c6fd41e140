// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace outrider {

/// CRC-32C (Castagnoli) of `bytes`, which may be empty. Give the result of the
/// bytes before as `crc` to go on from there.
/// Source: RFC 3720, appendix B.4, whose examples are the tests.
std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t crc = 0);

}  // namespace outrider
