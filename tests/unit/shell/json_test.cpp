// SPDX-License-Identifier: Apache-2.0
#include "agent/json.h"

#include <gtest/gtest.h>

#include <limits>
#include <random>
#include <string>

namespace outrider {
namespace {

TEST(JsonText, PutsCommasAndBracketsRight) {
  std::string out = "before ";
  JsonText json{out};
  json.object().member("a", 1).key("b").array().value(true).value(-2);
  json.array().end().object().end().end();
  json.member("c", "x").key("d").object().member("e", false).end().end();
  EXPECT_EQ(out,
            "before {\"a\":1,\"b\":[true,-2,[],{}],\"c\":\"x\","
            "\"d\":{\"e\":false}}");
}

TEST(JsonText, EscapesWhatJsonForbids) {
  std::string out;
  JsonText{out}.value("a\"\\\n\x1b\u00e4\xff");
  EXPECT_EQ(out, "\"a\\\"\\\\\\u000a\\u001b\u00e4\ufffd\"");
}

TEST(JsonText, KeepsNumbersThatJanssonTakes) {
  std::string out;
  JsonText{out}
      .array()
      .value(std::numeric_limits<std::uint64_t>::max())
      .value(std::numeric_limits<std::int64_t>::min())
      .end();
  EXPECT_EQ(out, "[9223372036854775807,-9223372036854775808]");
}

TEST(JsonText, AnyBytesMakeATextThatJanssonTakes) {
  for (unsigned seed = 0; seed < 2000; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    std::string bytes(random() % 40, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random() % 256);
    std::string out;
    JsonText{out}.array().value(bytes).end();
    // NUL is written as \u0000, which Jansson takes only with this flag.
    const Json back{
        json_loadb(out.data(), out.size(), JSON_ALLOW_NUL, nullptr)};
    EXPECT_TRUE(back) << out;
  }
}

}  // namespace
}  // namespace outrider
