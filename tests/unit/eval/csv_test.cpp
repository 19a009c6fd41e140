// SPDX-License-Identifier: Apache-2.0
#include "agent/eval/csv.h"

#include <gtest/gtest.h>

#include <cmath>

namespace outrider::eval {
namespace {

Trace parsed(const std::string& text, TraceOptions options = {}) {
  auto trace = parse_csv(text, "f.csv", options);
  if (!trace) ADD_FAILURE() << trace.error().what;
  return trace ? *trace : Trace{};
}

std::string error_of(const std::string& text) {
  auto trace = parse_csv(text, "f.csv", {});
  return trace ? "none" : trace.error().what;
}

TEST(Csv, ReadsNamedColumns) {
  const Trace trace = parsed("web,db\n1,2\n3,4.5\n");
  EXPECT_EQ(trace.names, (std::vector<std::string>{"web", "db"}));
  EXPECT_EQ(trace.series[0].values, (std::vector<double>{1, 3}));
  EXPECT_EQ(trace.series[1].values, (std::vector<double>{2, 4.5}));
  EXPECT_EQ(trace.period, 0);
}

TEST(Csv, ReadsColumnsWithoutNames) {
  const Trace trace = parsed("1 2\n3  4\n");
  EXPECT_EQ(trace.names, (std::vector<std::string>{"1", "2"}));
  EXPECT_EQ(trace.series[1].values, (std::vector<double>{2, 4}));
}

TEST(Csv, FillsGapsOfTheTimeColumn) {
  const Trace trace = parsed("t_ms;a\n0;1\n10;2\n40;3\n50;4\n60;5\n");
  EXPECT_EQ(trace.period, 10);
  const auto& values = trace.series.at(0).values;
  ASSERT_EQ(values.size(), 7U);
  EXPECT_TRUE(std::isnan(values[2]));
  EXPECT_TRUE(std::isnan(values[3]));
  EXPECT_EQ(values[4], 3);
}

TEST(Csv, TakesAnEmptyCellForMissing) {
  const Trace trace = parsed("a,b\n1,\n2,3\n");
  EXPECT_TRUE(std::isnan(trace.series[1].values[0]));
}

TEST(Csv, SaysWhereItIsWrong) {
  EXPECT_EQ(error_of("a,b\n1,2\n1,x\n"), "trace: f.csv:3:3: not a number");
  EXPECT_EQ(error_of("a\n1\n-1\n"), "trace: f.csv:3:1: negative");
  EXPECT_EQ(error_of("a,b\n1,inf\n"), "trace: f.csv:2:3: not finite");
  EXPECT_EQ(error_of("a,b\n1\n"), "trace: f.csv:2:1: 1 columns, not 2");
  EXPECT_EQ(error_of("t,a\n5,1\n5,1\n"),
            "trace: f.csv:3:1: the time does not rise");
  EXPECT_EQ(error_of("a\n"), "f.csv: no line of numbers");
  EXPECT_EQ(error_of("t\n1\n2\n"), "f.csv: only a time column");
}

TEST(Csv, SkipsBadLinesWhenTold) {
  const Trace trace = parsed("a\n1\nx\n-2\n4\n", {.skip_bad = true});
  EXPECT_EQ(trace.series[0].values, (std::vector<double>{1, 4}));
  EXPECT_EQ(trace.skipped, 2U);
}

}  // namespace
}  // namespace outrider::eval
