// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <jansson.h>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace outrider {

struct Decref {
  void operator()(json_t* json) const { json_decref(json); }
};
using Json = std::unique_ptr<json_t, Decref>;

/// Appends compact JSON to a string that the caller owns and may reuse.
/// Invariant: what was appended is well-formed as soon as all is closed;
/// bytes that are no UTF-8 become U+FFFD, and numbers above
/// 2^63 - 1, which Jansson and others refuse, become that.
class JsonText {
 public:
  explicit JsonText(std::string& out) : out_(out) {}

  JsonText& object() { return open('{'); }
  JsonText& array() { return open('['); }
  JsonText& end();
  JsonText& key(std::string_view name);

  JsonText& value(std::string_view text);
  JsonText& value(const char* text) { return value(std::string_view{text}); }
  JsonText& value(bool truth);
  template <std::unsigned_integral T>
  requires(!std::same_as<T, bool>) JsonText& value(T number) {
    return put_unsigned(number);
  }
  template <std::signed_integral T>
  JsonText& value(T number) {
    return put_signed(number);
  }

  template <class T>
  JsonText& member(std::string_view name, const T& its_value) {
    return key(name).value(its_value);
  }

 private:
  static constexpr std::size_t kDepthMax = 64;

  JsonText& open(char bracket);
  JsonText& put_unsigned(std::uint64_t number);
  JsonText& put_signed(std::int64_t number);
  void separate();

  std::string& out_;
  std::uint64_t arrays_ = 0;  // a bit a level: whether it is an array
  std::size_t depth_ = 0;
  bool comma_ = false;  // a value stands before, in the same bracket
};

}  // namespace outrider
