// SPDX-License-Identifier: Apache-2.0
// What the tests of the configuration share.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "agent/config.h"

namespace outrider {

inline Result<Config> parse(const std::string& text,
                            const Config& base = Config{}) {
  return parse_config("outrider.yaml", text, base);
}

inline std::string error_of(const std::string& text) {
  const auto config = parse(text);
  return config ? "no error" : config.error().what;
}

struct KeyCase {
  std::string text;
  std::function<void(Config&)> expect;  // what it sets
};

inline void expect_to_reach_its_field_and_no_other(const KeyCase& key) {
  SCOPED_TRACE(key.text);
  Config expected;
  key.expect(expected);
  EXPECT_FALSE(expected == Config{}) << "the case sets the default";
  const auto config = parse(key.text);
  ASSERT_TRUE(config) << config.error().what;
  EXPECT_TRUE(*config == expected) << dump_config(*config);
}

inline void expect_to_parse_back(const Config& config) {
  const std::string dump = dump_config(config);
  const auto back = parse(dump);
  ASSERT_TRUE(back) << back.error().what << '\n' << dump;
  EXPECT_TRUE(*back == config) << dump;
}

struct RangeCase {
  std::string section;  // "" at the top, "a.b" for nested ones
  std::string key;
  std::int64_t min;
  std::int64_t max;
};

inline std::string setting(const RangeCase& range, const std::string& value) {
  std::string text = range.key + ": " + value;
  if (range.section.empty()) return text;
  std::string path = range.section;
  std::string indent;
  std::string lines;
  for (std::size_t dot = path.find('.'); dot != std::string::npos;
       dot = path.find('.')) {
    lines += indent + path.substr(0, dot) + ":\n";
    path.erase(0, dot + 1);
    indent += "  ";
  }
  return lines + indent + path + ":\n" + indent + "  " + text;
}

inline void expect_range(const RangeCase& range) {
  SCOPED_TRACE(range.section + "." + range.key);
  EXPECT_TRUE(parse(setting(range, std::to_string(range.min))));
  EXPECT_TRUE(parse(setting(range, std::to_string(range.max))));
  const std::string text = setting(range, "x");
  const auto line = 1 + std::count(text.begin(), text.end(), '\n');
  const std::string path =
      range.section.empty() ? range.key : range.section + "." + range.key;
  const std::string want = "outrider.yaml:" + std::to_string(line) + ": " +
                           path + ": want " + std::to_string(range.min) + ".." +
                           std::to_string(range.max) + ", got ";
  for (const std::string& bad :
       {std::to_string(range.min - 1), std::to_string(range.max + 1),
        std::string("9223372036854775808"), std::string("10ms"),
        std::string("1e1"), std::string("10.0"), std::string("0x10"),
        std::string("+10"), std::string("\"10\""), std::string("yes")})
    EXPECT_EQ(error_of(setting(range, bad)), want + bad);
  EXPECT_EQ(error_of(setting(range, "")), want + "nothing");
  EXPECT_EQ(error_of(setting(range, "[10]")), want + "a list");
}

}  // namespace outrider
