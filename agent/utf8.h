// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string_view>

namespace outrider {

/// Bytes of the well-formed UTF-8 character that `text` begins with; 0 if it
/// begins with none. The controls U+0080..U+009F count as none: terminals obey
/// them. Ranges: Unicode 15, table 3-7.
std::size_t utf8_length(std::string_view text);

}  // namespace outrider
