// SPDX-License-Identifier: Apache-2.0
// Text that somebody else wrote, made fit for a terminal, a table or JSON.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace outrider {

/// As valid UTF-8 that moves no cursor: controls, bytes that are no UTF-8 and
/// characters that hide or turn text become \n, \t, \xNN or \u{NNNN}; a
/// backslash becomes two.
std::string visible_text(std::string_view text);

/// As a JSON string with its quotes. What visible_text() escapes is \uNNNN,
/// but a byte that is no UTF-8 is U+FFFD.
std::string json_text(std::string_view text);

/// In double quotes if RFC 4180 asks for it.
std::string csv_text(std::string_view text);

/// Columns of a terminal that `text` takes, one for each character.
std::size_t columns_of(std::string_view text);

/// Cut to `columns`, with an ellipsis if something is missing, and filled up
/// with spaces. `columns` > 0.
std::string fitted(std::string_view text, std::size_t columns);

}  // namespace outrider
