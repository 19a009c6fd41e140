// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace outrider {

/// Two lower-case digits a byte.
std::string to_hex(std::span<const std::byte> bytes);
/// None: an odd number of digits, or something else among them.
std::optional<std::vector<std::byte>> from_hex(std::string_view text);

}  // namespace outrider
