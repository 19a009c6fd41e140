// SPDX-License-Identifier: Apache-2.0
// The upper halves of floats: right to 0.4 %, of any unit.
#pragma once

#include <bit>
#include <cstdint>

namespace outrider {

constexpr float widened(std::uint16_t half) {
  return std::bit_cast<float>(std::uint32_t{half} << 16);
}

/// Rounded. Shape: not negative, and no infinity; the quiet NaN stays it.
constexpr std::uint16_t halved(float value) {
  return static_cast<std::uint16_t>(
      (std::bit_cast<std::uint32_t>(value) + 0x8000U) >> 16);
}

}  // namespace outrider
