// SPDX-License-Identifier: Apache-2.0
#include "agent/cli/view_text.h"

#include <gtest/gtest.h>

#include <string>

namespace outrider {
namespace {

TEST(VisibleText, LeavesOrdinaryNamesAlone) {
  EXPECT_EQ(visible_text("web-3 \u00fc\u4e2d\U0001F40E"),
            "web-3 \u00fc\u4e2d\U0001F40E");
  EXPECT_EQ(visible_text(""), "");
}

TEST(VisibleText, ShowsWhatATerminalWouldObey) {
  EXPECT_EQ(visible_text("a\x1b[2Jb"), "a\\x1b[2Jb");
  EXPECT_EQ(visible_text("a\nb\tc\r"), "a\\nb\\tc\\x0d");
  EXPECT_EQ(visible_text("\u009b31m"), "\\x9b31m");  // C1: CSI
  EXPECT_EQ(visible_text("\x7f"), "\\x7f");
  EXPECT_EQ(visible_text(std::string("\0x", 2)), "\\x00x");
}

TEST(VisibleText, ShowsWhatHidesOrTurnsText) {
  EXPECT_EQ(visible_text("a\u202eb"), "a\\u{202e}b");
  EXPECT_EQ(visible_text("a\u200bb"), "a\\u{200b}b");
  EXPECT_EQ(visible_text("\ufeff"), "\\u{feff}");
}

TEST(VisibleText, ShowsBytesThatAreNoUtf8) {
  EXPECT_EQ(visible_text("a\xff\xfe"), "a\\xff\\xfe");
  EXPECT_EQ(visible_text("\xe4\xb8"), "\\xe4\\xb8");  // cut short
  EXPECT_EQ(visible_text("\xc0\xaf"), "\\xc0\\xaf");  // overlong
}

TEST(VisibleText, CannotBeForged) {
  EXPECT_NE(visible_text("\\x1b"), visible_text("\x1b"));
  EXPECT_EQ(visible_text("\\x1b"), "\\\\x1b");
}

TEST(JsonText, QuotesAndEscapes) {
  EXPECT_EQ(json_text("a\"b\\c"), "\"a\\\"b\\\\c\"");
  EXPECT_EQ(json_text("\n\x1b\u202e"), "\"\\u000a\\u001b\\u202e\"");
  EXPECT_EQ(json_text("\xff"), "\"\\ufffd\"");
}

TEST(CsvText, QuotesAsRfc4180Says) {
  EXPECT_EQ(csv_text("plain"), "plain");
  EXPECT_EQ(csv_text("a,b"), "\"a,b\"");
  EXPECT_EQ(csv_text("say \"hi\""), "\"say \"\"hi\"\"\"");
  EXPECT_EQ(csv_text("two\nlines"), "\"two\nlines\"");
}

TEST(Fitted, FillsOrCutsByCharacters) {
  EXPECT_EQ(fitted("ab", 4), "ab  ");
  EXPECT_EQ(fitted("abcd", 4), "abcd");
  EXPECT_EQ(fitted("abcde", 4), "abc\u2026");
  EXPECT_EQ(fitted("\u00fc\u00fc\u00fc", 2), "\u00fc\u2026");
  EXPECT_EQ(columns_of("\u00fc\u4e2d"), 2U);
}

}  // namespace
}  // namespace outrider
