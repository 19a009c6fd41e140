// SPDX-License-Identifier: Apache-2.0
#include "agent/log.h"

#include <gtest/gtest.h>

namespace outrider {
namespace {

TEST(Escaped, KeepsALineALine) {
  EXPECT_EQ(escaped("web-3 \u00e4 \u65e5 \U0001f40e"),
            "web-3 \u00e4 \u65e5 \U0001f40e");
  EXPECT_EQ(escaped("a\nb\r\x1b[2J\x7f"), "a\\x0ab\\x0d\\x1b[2J\\x7f");
}

TEST(Escaped, EscapesWhatIsNoUtf8) {
  EXPECT_EQ(escaped("\xff\x80"), "\\xff\\x80");
  EXPECT_EQ(escaped("\xc3"), "\\xc3") << "cut off";
  EXPECT_EQ(escaped("\xc0\xaf"), "\\xc0\\xaf") << "overlong";
  EXPECT_EQ(escaped("\xe0\x80\xaf"), "\\xe0\\x80\\xaf") << "overlong";
  EXPECT_EQ(escaped("\xed\xa0\x80"), "\\xed\\xa0\\x80") << "surrogate";
  EXPECT_EQ(escaped("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");
  EXPECT_EQ(escaped("\xc2\x9b"
                    "2J"),
            "\\xc2\\x9b2J")
      << "a control of the terminal";
}

TEST(OneWord, IsQuotedIfNeedBe) {
  EXPECT_EQ(one_word("web-3"), "web-3");
  EXPECT_EQ(one_word("web 3"), "\"web 3\"");
  EXPECT_EQ(one_word("a\" next=\"b"), "\"a\\\" next=\\\"b\"");
  EXPECT_EQ(one_word(""), "\"\"");
}

TEST(LogLimit, PassesOneAnIntervalAndCountsTheRest) {
  LogLimit limit{std::chrono::seconds{10}};
  const Instant start{std::chrono::seconds{1}};
  EXPECT_TRUE(limit.pass(start));
  EXPECT_EQ(limit.held_back(), 0U);
  EXPECT_FALSE(limit.pass(start + std::chrono::seconds{1}));
  EXPECT_FALSE(limit.pass(start + std::chrono::seconds{9}));
  EXPECT_TRUE(limit.pass(start + std::chrono::seconds{10}));
  EXPECT_EQ(limit.held_back(), 2U);
}

}  // namespace
}  // namespace outrider
