// SPDX-License-Identifier: Apache-2.0
#include "agent/eval/recording.h"

#include <gtest/gtest.h>

#include <cmath>

#include "agent/core/record.h"
#include "tests/unit/core/random_samples.h"

namespace outrider::eval {
namespace {

constexpr std::int64_t kTick = 10'000'000;  // ns

std::string text_of(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// So many Samples 10 ms apart, and a gap of three ticks before the last.
std::vector<std::byte> recording(int samples) {
  RandomSamples host{1};
  RecordWriter writer;
  std::vector<std::byte> bytes;
  writer.header(bytes);
  for (int i = 0; i < samples; ++i) {
    const bool is_last = i + 1 == samples;
    EXPECT_TRUE(writer.sample(host.next(is_last ? 3 * kTick : kTick), bytes));
  }
  return bytes;
}

TEST(Recording, IsToldByItsBeginning) {
  EXPECT_TRUE(is_recording(text_of(recording(1))));
  EXPECT_FALSE(is_recording("web,db\n1,2\n"));
  EXPECT_FALSE(is_recording(""));
}

TEST(Recording, GivesASeriesAVmWithItsGaps) {
  auto trace = parse_recording(text_of(recording(20)), "f.rec", {});
  ASSERT_TRUE(trace) << trace.error().what;
  EXPECT_NEAR(trace->period, 0.01, 1e-9);
  ASSERT_EQ(trace->series.size(), 4U);
  for (const Series& series : trace->series) {
    ASSERT_EQ(series.values.size(), 21U);
    EXPECT_FALSE(std::isnan(series.values[17]));
    EXPECT_TRUE(std::isnan(series.values[18]));
    EXPECT_TRUE(std::isnan(series.values[19]));
    EXPECT_GE(series.values[20], 0);
  }
}

TEST(Recording, SaysWhereItIsDamaged) {
  auto bytes = recording(20);
  bytes.resize(bytes.size() - 5);
  const auto torn = parse_recording(text_of(bytes), "f.rec", {});
  ASSERT_FALSE(torn);
  EXPECT_NE(torn.error().what.find("f.rec: damaged at byte "),
            std::string::npos);
  auto rest = parse_recording(text_of(bytes), "f.rec", {.skip_bad = true});
  ASSERT_TRUE(rest);
  EXPECT_EQ(rest->skipped, 1U);
  EXPECT_EQ(rest->series.at(0).values.size(), 18U);
}

TEST(Recording, NeedsTwoSamples) {
  EXPECT_FALSE(parse_recording(text_of(recording(1)), "f.rec", {}));
}

}  // namespace
}  // namespace outrider::eval
