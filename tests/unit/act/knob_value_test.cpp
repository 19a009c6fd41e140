// SPDX-License-Identifier: Apache-2.0
#include "agent/knob_value.h"

#include <gtest/gtest.h>

namespace outrider {
namespace {

using std::chrono::milliseconds;

TEST(CpuMaxText, IsReadAsTheKernelWritesIt) {
  EXPECT_EQ(parse_cpu_max("max 100000"), (CpuMax{-1, 100000}));
  EXPECT_EQ(parse_cpu_max("20000 50000\n"), (CpuMax{20000, 50000}));
  for (const char* bad : {"", "max", "20000", "20000 0", "x 100000",
                          "-5 100000", "1 2 3", "20000 1e5", "max max"}) {
    EXPECT_FALSE(parse_cpu_max(bad)) << bad;
  }
}

TEST(CpuMaxText, IsWrittenAsTheKernelWritesIt) {
  EXPECT_EQ(format_cpu_max({-1, 100000}).view(), "max 100000");
  EXPECT_EQ(format_cpu_max({20000, 100000}).view(), "20000 100000");
  EXPECT_EQ(format_cpu_max({20000, 100000}).line(), "20000 100000\n");
  EXPECT_EQ(format_cpu_max({INT64_MAX, INT64_MAX}).view(),
            "9223372036854775807 9223372036854775807");
}

TEST(KnobNumber, IsOneWholeNumber) {
  EXPECT_EQ(parse_knob_number("400\n"), 400);
  for (const char* bad : {"", "max", "1 2", "-1", "4.5"}) {
    EXPECT_FALSE(parse_knob_number(bad)) << bad;
  }
  EXPECT_EQ(format_knob_number(0).view(), "0");
}

// 1 milli-CPU of 7 ms is 7 us; of 1.5 ms 1.5 us, rounded up to 2.
TEST(MilliCpus, AreRoundedUpToWholeMicroseconds) {
  EXPECT_EQ(make_cpu_max(MilliCpus{201}, milliseconds{7}).quota_us, 1407);
  EXPECT_EQ(
      make_cpu_max(MilliCpus{1001}, std::chrono::microseconds{1500}).quota_us,
      1502);
}

TEST(MilliCpus, AreNeverLessThanTheKernelTakes) {
  EXPECT_EQ(make_cpu_max(MilliCpus{0}, milliseconds{100}).quota_us, 1000);
  EXPECT_EQ(make_cpu_max(MilliCpus{9}, milliseconds{100}).quota_us, 1000);
  EXPECT_EQ(make_cpu_max(MilliCpus{11}, milliseconds{100}).quota_us, 1100);
}

TEST(MilliCpus, ComeBackAsTheyWere) {
  for (const int period_us : {1000, 1500, 7777, 100'000, 1'000'000}) {
    const std::chrono::microseconds period{period_us};
    const std::int64_t least = kQuotaMinUs * 1000 / period_us;
    for (std::int64_t cap = least + 1; cap < 70'000; cap += 37) {
      ASSERT_EQ(cap_of(make_cpu_max(MilliCpus{cap}, period)), MilliCpus{cap})
          << period_us;
    }
  }
  EXPECT_EQ(cap_of(make_cpu_max(MilliCpus{-1}, milliseconds{100})),
            MilliCpus{-1});
}

TEST(Knobs, SayTheirValuesInTheirOwnUnits) {
  const milliseconds period{100};
  EXPECT_EQ(format_knob(Knob::kCpuMax, 200, period).view(), "20000 100000");
  EXPECT_EQ(format_knob(Knob::kVcpuMax, -1, period).view(), "max 100000");
  EXPECT_EQ(format_knob(Knob::kCpuMaxBurst, 5000, period).view(), "5000");
  EXPECT_EQ(parse_knob(Knob::kCpuMax, "20000 100000"), 200);
  EXPECT_EQ(parse_knob(Knob::kVcpuMax, "max 100000"), -1);
  EXPECT_EQ(parse_knob(Knob::kCpuWeight, "400"), 400);
  EXPECT_FALSE(parse_knob(Knob::kCpuMax, "400"));
}

TEST(SameSetting, LooksAtWordsAndNumbers) {
  EXPECT_TRUE(same_setting("max 100000", "max 100000"));
  EXPECT_TRUE(same_setting("20000 100000", " 020000\t100000\n"));
  EXPECT_FALSE(same_setting("20000 100000", "20000 50000"));
  EXPECT_FALSE(same_setting("20000 100000", "20000"));
  EXPECT_FALSE(same_setting("max 100000", "0 100000"));
  EXPECT_FALSE(same_setting("", "0"));
}

}  // namespace
}  // namespace outrider
