// SPDX-License-Identifier: Apache-2.0
#include "agent/json.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <iterator>
#include <limits>

#include "agent/utf8.h"

namespace outrider {
namespace {

void append_quoted(std::string& out, std::string_view text) {
  out += '"';
  while (!text.empty()) {
    const auto byte = static_cast<unsigned char>(text.front());
    const std::size_t length = utf8_length(text);
    if (byte == '"' || byte == '\\') {
      out += '\\';
      out += text.front();
    } else if (byte < 0x20) {
      fmt::format_to(std::back_inserter(out), "\\u{:04x}", byte);
    } else if (length == 0) {
      out += "\xef\xbf\xbd";  // U+FFFD
    } else {
      out += text.substr(0, length);
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
  out += '"';
}

}  // namespace

void JsonText::separate() {
  if (comma_) out_ += ',';
  comma_ = true;
}

JsonText& JsonText::open(char bracket) {
  assert(depth_ < kDepthMax);
  separate();
  out_ += bracket;
  arrays_ = arrays_ << 1 | (bracket == '[' ? 1U : 0U);
  ++depth_;
  comma_ = false;
  return *this;
}

JsonText& JsonText::end() {
  assert(depth_ > 0);
  out_ += (arrays_ & 1U) != 0 ? ']' : '}';
  arrays_ >>= 1;
  --depth_;
  comma_ = true;
  return *this;
}

JsonText& JsonText::key(std::string_view name) {
  separate();
  append_quoted(out_, name);
  out_ += ':';
  comma_ = false;
  return *this;
}

JsonText& JsonText::value(std::string_view text) {
  separate();
  append_quoted(out_, text);
  return *this;
}

JsonText& JsonText::value(bool truth) {
  separate();
  out_ += truth ? "true" : "false";
  return *this;
}

JsonText& JsonText::put_unsigned(std::uint64_t number) {
  constexpr std::uint64_t kMost = std::numeric_limits<std::int64_t>::max();
  return put_signed(static_cast<std::int64_t>(std::min(number, kMost)));
}

JsonText& JsonText::put_signed(std::int64_t number) {
  separate();
  const fmt::format_int digits(number);
  out_.append(digits.data(), digits.size());
  return *this;
}

}  // namespace outrider
