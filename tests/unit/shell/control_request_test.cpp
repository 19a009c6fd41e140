// SPDX-License-Identifier: Apache-2.0
#include "agent/control_request.h"

#include <gtest/gtest.h>

#include <array>
#include <string>

namespace outrider {
namespace {

constexpr std::array<ControlArg, 3> kArgs = {
    ControlArg{.name = "pid",
               .kind = ControlArg::Kind::kCount,
               .required = true,
               .min = 1,
               .max = 100},
    ControlArg{.name = "name"},
    ControlArg{.name = "dry_run", .kind = ControlArg::Kind::kFlag}};

std::string error_of(const std::string& line) {
  const auto request = ControlRequest::parse(line);
  if (!request) return request.error().what;
  const auto checked = request->check(kArgs);
  return checked ? "" : checked.error().what;
}

TEST(ControlRequest, GivesWhatItHolds) {
  const auto request =
      ControlRequest::parse(R"({"verb": "x", "pid": 7, "name": "web"})");
  ASSERT_TRUE(request);
  EXPECT_EQ(request->verb(), "x");
  EXPECT_TRUE(request->check(kArgs));
  EXPECT_EQ(request->count("pid"), 7);
  EXPECT_EQ(request->text("name"), "web");
  EXPECT_EQ(request->count("name"), std::nullopt);
  EXPECT_EQ(request->text("pid"), std::nullopt);
  EXPECT_EQ(request->text("other"), std::nullopt);
  EXPECT_FALSE(request->flag("dry_run"));
}

TEST(ControlRequest, FlagsAreTrueOrFalse) {
  const auto flag = [](const std::string& value) {
    const auto request =
        ControlRequest::parse(R"({"verb": "x", "dry_run": )" + value + "}");
    return request && request->flag("dry_run");
  };
  EXPECT_TRUE(flag("true"));
  EXPECT_FALSE(flag("false"));
  EXPECT_FALSE(flag("1"));
  EXPECT_EQ(error_of(R"({"verb": "x", "pid": 1, "dry_run": false})"), "");
  EXPECT_EQ(error_of(R"({"verb": "x", "pid": 1, "dry_run": 1})"),
            "dry_run: want true or false");
}

TEST(ControlRequest, RefusesWhatIsNoRequest) {
  for (const char* line :
       {"", " ", "x", "[]", "{}", "1", "\"verb\"", R"({"verb": 1})",
        R"({"verb": "x"} {"verb": "y"})", R"({"verb": "x", "verb": "x"})",
        R"({"verb": "x", "pid": 99999999999999999999})",
        R"({"verb": "x", "pid": NaN})", "{\"verb\": \"a\\u0000b\"}",
        "{\"verb\": \"\xff\"}", R"({"verb": "x")"})
    EXPECT_FALSE(ControlRequest::parse(line)) << line;
}

TEST(ControlRequest, RefusesDepthAndLengthAtOnce) {
  EXPECT_FALSE(ControlRequest::parse(std::string(60'000, '[')));
  EXPECT_NE(ControlRequest::parse(std::string(1'000'000, '['))
                .error()
                .what.find("65536"),
            std::string::npos);
}

TEST(ControlRequest, ChecksNamesKindsAndRanges) {
  EXPECT_EQ(error_of(R"({"verb": "x", "pid": 1})"), "");
  EXPECT_EQ(error_of(R"({"verb": "x", "pid": 100, "name": "n"})"), "");
  EXPECT_EQ(error_of(R"({"verb": "x"})"), "x needs pid");
  EXPECT_EQ(error_of(R"({"verb": "x", "pid": 0})"), "pid: want 1..100");
  EXPECT_EQ(error_of(R"({"verb": "x", "pid": 101})"), "pid: want 1..100");
  EXPECT_EQ(error_of(R"({"verb": "x", "pid": 1.0})"), "pid: want 1..100");
  EXPECT_EQ(error_of(R"({"verb": "x", "pid": "1"})"), "pid: want 1..100");
  EXPECT_EQ(error_of(R"({"verb": "x", "pid": 1, "name": 3})"),
            "name: want a text");
  EXPECT_EQ(error_of(R"({"verb": "x", "pid": 1, "name": ""})"),
            "name: want a text");
  EXPECT_EQ(error_of(R"({"verb": "x", "pid": 1, "q\u001b": 3})"),
            "x takes no q\\x1b");
}

}  // namespace
}  // namespace outrider
