// SPDX-License-Identifier: Apache-2.0
#include "agent/cli/view_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <iterator>

#include "agent/utf8.h"

namespace outrider {
namespace {

struct Character {
  std::string_view bytes;
  char32_t code = 0;
  bool well_formed = true;
};

/// The first character of `text`, which is not empty.
Character first_of(std::string_view text) {
  const std::size_t length = utf8_length(text);
  if (length == 0) {
    const auto byte = static_cast<unsigned char>(text.front());
    // U+0080..U+009F are well-formed UTF-8, and obeyed by terminals.
    if (byte == 0xC2 && text.size() > 1) {
      const auto next = static_cast<unsigned char>(text[1]);
      if (next >= 0x80 && next <= 0x9F) return {text.substr(0, 2), next};
    }
    return {text.substr(0, 1), byte, byte < 0x80};
  }
  constexpr std::array<unsigned, 5> kLeadBits = {0, 0x7F, 0x1F, 0x0F, 0x07};
  char32_t code = static_cast<unsigned char>(text[0]) & kLeadBits[length];
  for (std::size_t i = 1; i < length; ++i) {
    code = (code << 6) | (static_cast<unsigned char>(text[i]) & 0x3FU);
  }
  return {text.substr(0, length), code};
}

/// Controls, and what hides text or turns its direction (Unicode's Bidi_Control
/// and the zero-width characters, line and paragraph separators among them).
bool harmful(char32_t code) {
  struct Range {
    char32_t first, last;
  };
  constexpr std::array<Range, 9> kRanges = {{{0x00, 0x1F},
                                             {0x7F, 0x9F},
                                             {0xAD, 0xAD},
                                             {0x61C, 0x61C},
                                             {0x180E, 0x180E},
                                             {0x200B, 0x200F},
                                             {0x2028, 0x202E},
                                             {0x2060, 0x206F},
                                             {0xFEFF, 0xFEFF}}};
  return std::ranges::any_of(kRanges, [code](const Range& range) {
    return code >= range.first && code <= range.last;
  });
}

std::string escaped(const Character& character) {
  const auto code = static_cast<unsigned>(character.code);
  if (code == '\n') return "\\n";
  if (code == '\t') return "\\t";
  if (code < 0x100) return fmt::format("\\x{:02x}", code);
  return fmt::format("\\u{{{:04x}}}", code);
}

}  // namespace

std::string visible_text(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const Character next = first_of(text);
    text.remove_prefix(next.bytes.size());
    if (!next.well_formed || harmful(next.code)) {
      out += escaped(next);
    } else if (next.code == '\\') {
      out += "\\\\";
    } else {
      out += next.bytes;
    }
  }
  return out;
}

std::string json_text(std::string_view text) {
  std::string out = "\"";
  while (!text.empty()) {
    const Character next = first_of(text);
    text.remove_prefix(next.bytes.size());
    if (!next.well_formed) {
      out += "\\ufffd";
    } else if (harmful(next.code)) {
      fmt::format_to(std::back_inserter(out), "\\u{:04x}",
                     static_cast<unsigned>(next.code));
    } else {
      if (next.code == '"' || next.code == '\\') out += '\\';
      out += next.bytes;
    }
  }
  return out + '"';
}

std::string csv_text(std::string_view text) {
  if (text.find_first_of(",\"\r\n") == std::string_view::npos) {
    return std::string(text);
  }
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"') out += '"';
    out += c;
  }
  return out + '"';
}

std::size_t columns_of(std::string_view text) {
  std::size_t columns = 0;
  for (; !text.empty(); ++columns) {
    text.remove_prefix(first_of(text).bytes.size());
  }
  return columns;
}

std::string fitted(std::string_view text, std::size_t columns) {
  assert(columns > 0);
  const std::size_t wanted = columns_of(text);
  if (wanted <= columns) {
    return std::string(text) + std::string(columns - wanted, ' ');
  }
  std::string out;
  for (std::size_t i = 0; i + 1 < columns; ++i) {
    const Character next = first_of(text);
    text.remove_prefix(next.bytes.size());
    out += next.bytes;
  }
  return out + "\u2026";
}

}  // namespace outrider
