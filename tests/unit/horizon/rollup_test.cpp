// SPDX-License-Identifier: Apache-2.0
#include "agent/horizon/rollup.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <limits>
#include <map>
#include <random>
#include <vector>

#include "agent/base/crc32c.h"

namespace outrider {
namespace {

constexpr Slot kSome = 5'900'000;  // in 2026

SlotFigures flat(float value) { return {.peak = value, .p95 = value}; }

TEST(Slot, IsFiveMinutesOfUnixTime) {
  EXPECT_EQ(slot_of(0), 0);
  EXPECT_EQ(slot_of(299), 0);
  EXPECT_EQ(slot_of(300), 1);
  EXPECT_EQ(slot_of(-1), -1);
  EXPECT_EQ(slot_of(-300), -1);
}

// Against sorting them.
TEST(SlotSamples, FiguresAreThoseOfItsSamples) {
  for (unsigned seed = 0; seed < 50; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random{seed};
    std::lognormal_distribution<double> demand{5, 2};
    SlotSamples samples;
    std::vector<std::int64_t> all;
    const std::size_t count = 1 + random() % 3000;
    while (all.size() < count) {
      all.push_back(static_cast<std::int64_t>(demand(random)));
      samples.add(MilliCpus{all.back()});
    }
    std::ranges::sort(all);
    const auto p95 = static_cast<float>(all[count - 1 - count / 20]);
    const SlotFigures figures = samples.figures();
    EXPECT_EQ(figures.peak, static_cast<float>(all.back()));
    EXPECT_GE(figures.p95, p95);
    EXPECT_LE(figures.p95, std::max(p95 * 17 / 16, 17.0F / 16));
  }
}

TEST(SlotSamples, TakesWhatCannotBe) {
  SlotSamples samples;
  EXPECT_TRUE(std::isnan(samples.figures().peak));
  samples.add(MilliCpus{-5});
  EXPECT_EQ(samples.figures().peak, 0);
  EXPECT_EQ(samples.figures().p95, 0);
  samples.add(MilliCpus{std::int64_t{1} << 60});
  EXPECT_EQ(samples.figures().peak, 0x1p60F);
  samples.clear();
  EXPECT_TRUE(samples.is_empty());
}

// As while the wall clock stands still: 80,000 alike, and 4,000 above.
TEST(SlotSamples, TakesMoreThanASlotHas) {
  SlotSamples samples;
  for (int i = 0; i < 80'000; ++i) samples.add(MilliCpus{100});
  for (int i = 0; i < 4'000; ++i) samples.add(MilliCpus{900});
  EXPECT_EQ(samples.figures().peak, 900);
  EXPECT_EQ(samples.figures().p95, 900);  // 5.8 % of 69,535
  EXPECT_LE(sizeof(samples), 656U);
}

TEST(Rollup, GivesP95sOldestFirstWithGapsMissing) {
  Rollup rollup;
  EXPECT_TRUE(rollup.is_empty());
  EXPECT_TRUE(rollup.p95s().empty());
  EXPECT_EQ(rollup.highest_peak(), 0);
  rollup.put(kSome, {.peak = 8, .p95 = 2});
  rollup.put(kSome + 3, {.peak = 4, .p95 = 1});
  const std::vector<double> p95s = rollup.p95s();
  ASSERT_EQ(p95s.size(), 4U);
  EXPECT_EQ(p95s[0], 2);
  EXPECT_TRUE(std::isnan(p95s[1]) && std::isnan(p95s[2]));
  EXPECT_EQ(p95s[3], 1);
  EXPECT_EQ(rollup.at(kSome).peak, 8);
  EXPECT_EQ(rollup.highest_peak(), 8);
  EXPECT_EQ(rollup.known(), 2U);
  EXPECT_EQ(rollup.newest(), kSome + 3);
}

TEST(Rollup, HoldsNothingThatNoHostHas) {
  Rollup rollup;
  rollup.put(kSome, flat(3.4e38F));
  EXPECT_EQ(rollup.at(kSome).peak, Rollup::kMost);
  EXPECT_EQ(rollup.at(kSome).p95, Rollup::kMost);
  EXPECT_TRUE(Rollup::load(rollup.save()));
}

TEST(Rollup, IsRightToFourInAThousand) {
  Rollup rollup;
  for (const float value : {0.0F, 1.0F, 333.0F, 1999.0F, 123456.0F}) {
    rollup.put(kSome, flat(value));
    EXPECT_NEAR(rollup.at(kSome).peak, value, 0.004 * value);
  }
}

TEST(Rollup, TheSameSlotAgainIsMerged) {
  Rollup rollup;
  rollup.put(kSome, {.peak = 8, .p95 = 2});
  rollup.put(kSome, {.peak = 4, .p95 = 3});
  EXPECT_EQ(rollup.at(kSome).peak, 8);
  EXPECT_EQ(rollup.at(kSome).p95, 3);
  EXPECT_EQ(rollup.known(), 1U);
}

TEST(Rollup, TakesASlotThatIsLateAndNoneThatIsTooOld) {
  Rollup rollup;
  constexpr auto kSlots = static_cast<Slot>(Rollup::kSlots);
  rollup.put(kSome, flat(8));
  rollup.put(kSome - kSlots + 1, flat(2));
  rollup.put(kSome - kSlots, flat(1));
  EXPECT_EQ(rollup.known(), 2U);
  EXPECT_EQ(rollup.p95s().size(), Rollup::kSlots);
  EXPECT_EQ(rollup.p95s().front(), 2);
  rollup.put(kSome + 10 * kSlots, flat(4));  // all that was is older now
  EXPECT_EQ(rollup.known(), 1U);
  EXPECT_EQ(rollup.p95s(), std::vector<double>{4});
}

TEST(Rollup, TakesNoTimeThatNobodyLivesIn) {
  Rollup rollup;
  rollup.put(std::numeric_limits<Slot>::max(), flat(1));
  rollup.put(std::numeric_limits<Slot>::min(), flat(1));
  EXPECT_TRUE(rollup.is_empty());
}

// Against a map of all slots.
TEST(Rollup, HoldsTheLastFourteenDaysWhateverComes) {
  for (unsigned seed = 0; seed < 20; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random{seed};
    Rollup rollup;
    std::map<Slot, float> all;
    Slot now = kSome + static_cast<Slot>(random() % 5000);
    for (int i = 0; i < 6000; ++i) {
      now += static_cast<Slot>(random() % 50 == 0 ? random() % 300 : 1);
      const Slot slot =
          now - static_cast<Slot>(random() % 20 == 0 ? random() % 5000 : 0);
      const auto value = static_cast<float>(random() % 128);
      rollup.put(slot, flat(value));
      const bool is_held =
          slot > rollup.newest() - static_cast<Slot>(Rollup::kSlots);
      if (is_held) all[slot] = std::max(all[slot], value);
    }
    all.erase(all.begin(), all.upper_bound(rollup.newest() -
                                           static_cast<Slot>(Rollup::kSlots)));
    EXPECT_EQ(rollup.known(), all.size());
    for (const auto& [slot, peak] : all) EXPECT_EQ(rollup.at(slot).peak, peak);
    EXPECT_EQ(
        rollup.p95s().size(),
        static_cast<std::size_t>(rollup.newest() - all.begin()->first + 1));
  }
}

Rollup some_rollup() {
  Rollup rollup;
  for (Slot i = 0; i < 5000; i += 3) {
    rollup.put(kSome + i, flat(static_cast<float>(i % 100)));
  }
  return rollup;
}

TEST(Rollup, IsAsBytesWhatItWas) {
  for (const Rollup& rollup : {some_rollup(), Rollup{}}) {
    const std::vector<std::byte> bytes = rollup.save();
    EXPECT_EQ(bytes.size(), Rollup::kBytes);
    const auto back = Rollup::load(bytes);
    ASSERT_TRUE(back) << back.error().what;
    EXPECT_EQ(back->known(), rollup.known());
    EXPECT_EQ(back->save(), bytes);
  }
}

TEST(Rollup, RefusesBytesThatAreDamaged) {
  std::vector<std::byte> bytes = some_rollup().save();
  for (std::size_t i = 0; i < bytes.size(); i += i < 32 ? 1 : 61) {
    bytes[i] ^= std::byte{4};
    EXPECT_FALSE(Rollup::load(bytes)) << i;
    bytes[i] ^= std::byte{4};
  }
  for (const std::size_t size : {0U, 7U, 15U, 16U, 23U, 24U, 16'000U}) {
    EXPECT_FALSE(Rollup::load(std::span(bytes).first(size))) << size;
  }
  EXPECT_TRUE(Rollup::load(bytes));
  bytes.push_back(std::byte{});
  EXPECT_FALSE(Rollup::load(bytes));
}

TEST(Rollup, NamesAnotherVersion) {
  std::vector<std::byte> bytes = some_rollup().save();
  bytes[8] = std::byte{2};
  const auto back = Rollup::load(bytes);
  ASSERT_FALSE(back);
  EXPECT_EQ(back.error().what, "version 2, want 1");
  EXPECT_EQ(back.error().code, ENOTSUP);
}

/// A sealed roll-up of which one slot has these bits as its peak and p95.
std::vector<std::byte> sealed_with(unsigned half) {
  std::vector<std::byte> bytes = some_rollup().save();
  for (const std::size_t at : {std::size_t{24}, 24 + 2 * Rollup::kSlots}) {
    bytes[at] = static_cast<std::byte>(half & 0xFF);
    bytes[at + 1] = static_cast<std::byte>(half >> 8);
  }
  const std::uint32_t crc = crc32c(std::span(bytes).subspan(16));
  for (std::size_t i = 0; i < 4; ++i) {
    bytes[12 + i] = static_cast<std::byte>(crc >> (8 * i));
  }
  return bytes;
}

// Sealed rightly, but with figures that put() keeps of nobody: infinities,
// negative ones, other NaNs, the greatest float, and the next above kMost.
TEST(Rollup, RefusesFiguresThatCannotBe) {
  for (const unsigned half :
       {0x7F80U, 0xBF80U, 0xFFC0U, 0x7FC1U, 0x7F7FU, 0x4F01U}) {
    EXPECT_FALSE(Rollup::load(sealed_with(half))) << half;
  }
  for (const unsigned half : {0x0000U, 0x3F80U, 0x7FC0U, 0x4F00U}) {
    EXPECT_TRUE(Rollup::load(sealed_with(half))) << half;
  }
}

}  // namespace
}  // namespace outrider
