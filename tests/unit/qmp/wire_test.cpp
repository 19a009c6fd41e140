// SPDX-License-Identifier: Apache-2.0
#include "qmp/wire.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/unit/qmp/answers.h"

namespace outrider::qmp {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::string> lines_of(LineReader& reader, std::string_view bytes) {
  std::vector<std::string> lines;
  reader.feed(bytes);
  while (true) {
    auto line = reader.next();
    if (!line) {
      lines.push_back("error: " + line.error().what);
      return lines;
    }
    if (!*line) return lines;
    lines.emplace_back(**line);
  }
}

std::string refusal(std::string_view line) {
  auto message = parse_message(line);
  return message ? "none" : message.error().what;
}

TEST(LineReader, GivesLinesWithoutTheirEnds) {
  LineReader reader;
  EXPECT_THAT(lines_of(reader, "a\nbc\r\n\nd"), ElementsAre("a", "bc", ""));
  EXPECT_THAT(lines_of(reader, "e\n"), ElementsAre("de"));
}

TEST(LineReader, GivesTheSameLinesHoweverTheyAreCut) {
  const std::string text =
      "{\"a\": 1}\r\n{\r\n    \"b\": {\r\n    }\r\n}\r\nc\n";
  LineReader whole;
  const auto expected = lines_of(whole, text);
  ASSERT_EQ(expected.size(), 3);
  for (std::size_t first = 0; first <= text.size(); ++first) {
    for (std::size_t second = first; second <= text.size(); ++second) {
      LineReader reader;
      std::vector<std::string> lines;
      for (const auto& part :
           {text.substr(0, first), text.substr(first, second - first),
            text.substr(second)})
        for (auto& line : lines_of(reader, part)) lines.push_back(line);
      ASSERT_EQ(lines, expected) << first << " " << second;
    }
  }
}

TEST(LineReader, TakesAPrettyBlockAsOneLine) {
  LineReader reader;
  const auto lines =
      lines_of(reader, recorded("greeting-pretty") + "{\"event\": 1}\n");
  ASSERT_EQ(lines.size(), 2);
  auto greeting = parse_message(lines[0]);
  ASSERT_TRUE(greeting) << greeting.error().what;
  EXPECT_TRUE(std::holds_alternative<Greeting>(*greeting));
  EXPECT_EQ(lines[1], "{\"event\": 1}");
}

TEST(LineReader, TakesTheLongestLineAndNoLonger) {
  const std::string longest(kLineBytesMax - 1, 'x');
  LineReader reader;
  EXPECT_THAT(lines_of(reader, longest), ElementsAre());
  EXPECT_EQ(lines_of(reader, "\n").at(0).size(), longest.size());
  EXPECT_THAT(lines_of(reader, longest), ElementsAre());
  EXPECT_THAT(lines_of(reader, "y\n"),
              ElementsAre(HasSubstr("a line of more than 1048576 bytes")));
  LineReader at_once;
  EXPECT_THAT(lines_of(at_once, longest + "y\n"),
              ElementsAre(HasSubstr("a line of more than")));
}

TEST(LineReader, HoldsNoMoreThanTheLimitAndGivesItBack) {
  LineReader reader;
  std::size_t most = 0;
  for (std::size_t bytes = 0; bytes + 1000 < kLineBytesMax; bytes += 1000) {
    EXPECT_THAT(lines_of(reader, std::string(1000, 'x')), ElementsAre());
    most = std::max(most, reader.memory());
  }
  EXPECT_LE(most, kLineBytesMax + 1);
  EXPECT_EQ(lines_of(reader, "\n").size(), 1);
  EXPECT_THAT(lines_of(reader, "short"), ElementsAre());
  EXPECT_LE(reader.memory(), 8192);
}

TEST(ParseMessage, ReadsTheGreetingOfARealQemu) {
  auto message = parse_message(recorded("greeting"));
  ASSERT_TRUE(message) << message.error().what;
  const auto& greeting = std::get<Greeting>(*message);
  EXPECT_THAT(greeting.version, testing::StartsWith("7.2."));
  EXPECT_THAT(greeting.version, HasSubstr("Debian"));
  EXPECT_TRUE(greeting.offers_oob);
}

TEST(ParseMessage, ReadsRepliesAndEvents) {
  auto answer = parse_message("{\"return\": {\"a\": 1}, \"id\": 7}");
  EXPECT_EQ(std::get<Return>(*answer).id, 7);
  auto refused = parse_message(recorded("device-del-refused"));
  EXPECT_EQ(std::get<Failure>(*refused).error_class, "DeviceNotFound");
  EXPECT_EQ(std::get<Failure>(*refused).description, "Device 'none' not found");
  auto event = parse_message(
      "{\"timestamp\": {\"seconds\": 12, \"microseconds\": 34}, "
      "\"event\": \"STOP\"}");
  EXPECT_EQ(std::get<Event>(*event).name, "STOP");
  EXPECT_EQ(std::get<Event>(*event).seconds, 12);
  EXPECT_EQ(std::get<Event>(*event).microseconds, 34);
  EXPECT_EQ(std::get<Event>(*event).data, nullptr);
}

TEST(ParseMessage, ReadsNumbersOf64BitsInTheirSignedForm) {
  const Json value = answer(
      "[18446744073709551615, 9223372036854775808, 9223372036854775807, "
      "\"18446744073709551615\", \"a\\\"18446744073709551615\", "
      "1.8446744073709551615]");
  ASSERT_NE(value, nullptr);
  const auto at = [&](std::size_t i) { return json_array_get(value.get(), i); };
  EXPECT_EQ(json_integer_value(at(0)), -1);
  EXPECT_EQ(json_integer_value(at(1)), INT64_MIN);
  EXPECT_EQ(json_integer_value(at(2)), INT64_MAX);
  EXPECT_STREQ(json_string_value(at(3)), "18446744073709551615");
  EXPECT_STREQ(json_string_value(at(4)), "a\"18446744073709551615");
  EXPECT_TRUE(json_is_real(at(5)));
  EXPECT_EQ(answer("18446744073709551616"), nullptr);
  EXPECT_EQ(answer("-18446744073709551615"), nullptr);
}

TEST(ParseMessage, RefusesWhatIsNoneOfItsShapes) {
  EXPECT_THAT(refusal(""), HasSubstr("no JSON"));
  EXPECT_THAT(refusal("[1]"), HasSubstr("want an object"));
  EXPECT_THAT(refusal("{}"), HasSubstr("none of QMP, return"));
  EXPECT_THAT(refusal("{\"return\": 1, \"event\": \"a\", \"id\": 1}"),
              HasSubstr("alone"));
  EXPECT_THAT(refusal("{\"return\": 1}"), HasSubstr("no id"));
  EXPECT_THAT(refusal("{\"return\": 1, \"id\": \"1\"}"),
              HasSubstr("id: want an integer"));
  EXPECT_THAT(refusal("{\"return\": 1, \"id\": 1.0}"),
              HasSubstr("id: want an integer"));
  EXPECT_THAT(refusal("{\"error\": {}, \"id\": 1}"), HasSubstr("want a class"));
  EXPECT_THAT(
      refusal("{\"error\": {\"class\": \"A\", \"desc\": \"cannot read\"}}"),
      HasSubstr("error 'cannot read': no id"));
  EXPECT_THAT(refusal("{\"QMP\": {}}"), HasSubstr("no version"));
  EXPECT_THAT(refusal("{\"event\": \"A\"}"), HasSubstr("timestamp"));
  EXPECT_THAT(refusal("{\"event\": 1}"), HasSubstr("event: want a text"));
}

TEST(ParseMessage, RefusesDuplicateKeysAndNul) {
  EXPECT_THAT(refusal("{\"return\": 1, \"id\": 1, \"id\": 2}"),
              HasSubstr("duplicate"));
  EXPECT_THAT(refusal(std::string_view("{\"return\": \"\0\", \"id\": 1}", 25)),
              HasSubstr("no JSON"));
  EXPECT_THAT(refusal("{\"return\": \"\\u0000\", \"id\": 1}"),
              HasSubstr("no JSON"));
  EXPECT_THAT(refusal("{\"return\": \"\xff\", \"id\": 1}"),
              HasSubstr("no JSON"));
}

TEST(ParseMessage, RefusesDeepAndManyValues) {
  const std::string deep(200'000, '[');
  EXPECT_THAT(refusal("{\"return\": " + deep), HasSubstr("more than 65536"));
  const std::string less_deep(3'000, '[');
  EXPECT_THAT(refusal("{\"return\": " + less_deep),
              HasSubstr("maximum parsing depth"));
  std::string many = "{\"id\": 1, \"return\": [1";
  for (std::size_t i = 0; i < kLineValuesMax; ++i) many += ",1";
  EXPECT_THAT(refusal(many + "]}"), HasSubstr("more than 65536 values"));
}

TEST(EncodeCommand, WritesOneLine) {
  EXPECT_EQ(encode_command("query-status", nullptr, 3).value(),
            "{\"execute\":\"query-status\",\"id\":3}\n");
  const Json arguments{json_pack("{s:s}", "path", "/a\n\"b")};
  EXPECT_EQ(encode_command("qom-list", arguments.get(), 4).value(),
            "{\"execute\":\"qom-list\",\"arguments\":"
            "{\"path\":\"/a\\n\\\"b\"},\"id\":4}\n");
}

TEST(EncodeCommand, RefusesWhatIsNoCommand) {
  const Json array{json_array()};
  EXPECT_FALSE(encode_command("a", array.get(), 1));
  EXPECT_FALSE(encode_command("\xff", nullptr, 1));
}

}  // namespace
}  // namespace outrider::qmp
