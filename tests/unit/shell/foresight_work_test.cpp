// SPDX-License-Identifier: Apache-2.0
// The test is the wall clock, and calls as the worker would.
#include "agent/foresight_work.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <ctime>
#include <set>
#include <string>

#include "tests/unit/shell/foresight_past.h"
#include "tests/unit/shell/temporary_dir.h"

namespace outrider {
namespace {

/// One VM that demanded 100 mcpu.
SlotJob of_one(Slot slot) {
  return {.slot = slot,
          .entries = {{.uuid = kUuid, .figures = {.peak = 100, .p95 = 100}}}};
}

TEST(ForesightWork, SpreadsVmsOverTheHour) {
  const TemporaryDir dir;
  const std::atomic<bool> is_stopping{false};
  ForesightWork work(config_in(dir), files_of(config_in(dir)), is_stopping);
  SlotJob job;
  for (int i = 0; i < 60; ++i) {
    job.entries.push_back({.uuid = std::to_string(1000 + i), .figures = {}});
  }
  Prospect prospect;
  for (job.slot = kStart; job.slot < kStart + 37; ++job.slot) {
    work.put(job);
    int looks = 0;
    while (work.look(prospect)) ++looks;
    // All as it starts, then five of sixty a slot, more or less.
    const bool is_first = job.slot == kStart;
    EXPECT_GE(looks, is_first ? 60 : 1) << job.slot - kStart;
    EXPECT_LE(looks, is_first ? 60 : 14) << job.slot - kStart;
  }
}

// What was written of years to come is believed for a day, then given up.
TEST(ForesightWork, StartsAnewADayAfterTheClockWasFast) {
  const TemporaryDir dir;
  const PredictiveConfig config = config_in(dir);
  const std::atomic<bool> is_stopping{false};
  ForesightWork work(config, files_of(config), is_stopping);
  SlotJob job = of_one(kStart + 900 * kDay);
  work.put(job);
  for (job.slot = kStart; job.slot < kStart + kDay + 2; ++job.slot) {
    work.put(job);
  }
  const auto rollup = files_of(config).read(kUuid);
  ASSERT_TRUE(rollup);
  EXPECT_EQ(rollup->newest(), kStart + kDay + 1);
  EXPECT_EQ(rollup->known(), 3U);
  EXPECT_FALSE(work.take_failure());
}

// One that is fast for less than an hour, and one that stays.
TEST(ForesightWork, AClockThatIsFastForMinutesCostsNoHistory) {
  const TemporaryDir dir;
  const PredictiveConfig config = config_in(dir);
  remember(config, daily, 13 * kDay);
  const std::atomic<bool> is_stopping{false};
  ForesightWork work(config, files_of(config), is_stopping);
  SlotJob job = of_one(kStart);
  work.put(job);
  const auto put_years_ahead = [&](Slot slots) {
    for (job.slot = kStart + 900 * kDay; slots > 0; --slots, ++job.slot) {
      work.put(job);
    }
    return files_of(config).read(kUuid)->known();
  };
  const auto all = static_cast<std::size_t>(13 * kDay);
  EXPECT_EQ(put_years_ahead(11), all + 1);
  job.slot = kStart + 1;
  work.put(job);
  EXPECT_EQ(put_years_ahead(11), all + 2) << "not eleven and eleven";
  job.slot = kStart + 2;
  work.put(job);
  EXPECT_EQ(put_years_ahead(14), 3U) << "by then it is right";
}

TEST(ForesightWork, AVmThatIsBackWithinFourteenDaysGoesOnAtOnce) {
  const TemporaryDir dir;
  const PredictiveConfig config = config_in(dir);
  remember(config, daily, 13 * kDay);
  const std::atomic<bool> is_stopping{false};
  ForesightWork work(config, files_of(config), is_stopping);
  const Slot back = kStart + 10 * kDay;
  work.put(of_one(back));
  EXPECT_EQ(files_of(config).read(kUuid)->newest(), back);
}

TEST(ForesightWork, LooksAtOnceWhereTheClockWentBack) {
  const TemporaryDir dir;
  const PredictiveConfig config = config_in(dir);
  remember(config, daily, kDay);
  const std::atomic<bool> is_stopping{false};
  ForesightWork work(config, files_of(config), is_stopping);
  Prospect prospect;
  for (const Slot slot : {kStart + 900 * kDay, kStart}) {
    work.put({.slot = slot, .entries = {{.uuid = kUuid, .figures = {}}}});
    EXPECT_TRUE(work.look(prospect)) << slot;
    EXPECT_FALSE(work.look(prospect)) << slot;
  }
}

// Where the clock was wrong, or is, what is old is not known yet.
TEST(ForesightWork, RemovesNothingBeforeADayOfARightClock) {
  const TemporaryDir dir;
  const PredictiveConfig config = config_in(dir);
  const std::string old = "abc";
  const std::atomic<bool> is_stopping{false};
  ForesightWork work(config, files_of(config), is_stopping);
  const auto is_there_at = [&](Slot slot) {
    work.put(of_one(slot));
    return !files_of(config).read(old)->is_empty();
  };
  const auto remember_old = [&] {
    remember(config, daily, 1, old);
    const timespec time{.tv_sec = (kStart - 15 * kDay) * kSlotSeconds,
                        .tv_nsec = 0};
    const timespec times[] = {time, time};
    const std::string path = config.directory + "/" + old + ".rollup";
    ASSERT_EQ(::utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
  };
  remember_old();
  for (const Slot slot : {Slot{0}, kDay / 2, kDay - 1}) {
    EXPECT_TRUE(is_there_at(kStart + slot)) << slot;
  }
  EXPECT_FALSE(is_there_at(kStart + kDay));
  remember_old();
  // Forth to where a clock was, and back.
  for (const Slot slot : {900 * kDay, 900 * kDay + 1, kDay, 2 * kDay - 1}) {
    EXPECT_TRUE(is_there_at(kStart + slot)) << slot;
  }
  EXPECT_FALSE(is_there_at(kStart + 2 * kDay));
}

TEST(ForesightWork, StarvesNobodyWhereThereIsMoreToDoThanTime) {
  const TemporaryDir dir;
  const std::atomic<bool> is_stopping{false};
  ForesightWork work(config_in(dir), files_of(config_in(dir)), is_stopping);
  SlotJob job;
  for (int i = 0; i < 60; ++i) {
    job.entries.push_back({.uuid = std::to_string(1000 + i), .figures = {}});
  }
  std::set<std::string> seen;
  Prospect prospect;
  for (job.slot = kStart; job.slot < kStart + 40; ++job.slot) {
    work.put(job);
    for (int looks = 0; looks < 3 && work.look(prospect); ++looks) {
      seen.insert(prospect.uuid);
    }
  }
  EXPECT_EQ(seen.size(), 60U);
}

// An interval may go beyond all that it was made of.
TEST(ForesightWork, NoUpperEndIsAboveTheHighestPeak) {
  const TemporaryDir dir;
  const PredictiveConfig config = config_in(dir);
  Rollup rollup;
  for (Slot slot = kStart - 70; slot < kStart; ++slot) {
    rollup.put(slot, {.peak = 1000, .p95 = 1000});
  }
  ASSERT_TRUE(files_of(config).write(kUuid, rollup));
  const std::atomic<bool> is_stopping{false};
  ForesightWork work(config, files_of(config), is_stopping);
  work.put({.slot = kStart, .entries = {{.uuid = kUuid, .figures = {}}}});
  Prospect prospect;
  ASSERT_TRUE(work.look(prospect));
  ASSERT_FALSE(prospect.upper.empty());
  for (const float upper : prospect.upper) EXPECT_LE(upper, 1000);
}

TEST(ForesightWork, GivesUpWhenItIsToStop) {
  const TemporaryDir dir;
  const PredictiveConfig config = config_in(dir);
  remember(config, daily, kDay);
  std::atomic<bool> is_stopping{false};
  ForesightWork work(config, files_of(config), is_stopping);
  work.put({.slot = kStart, .entries = {{.uuid = kUuid, .figures = {}}}});
  is_stopping = true;
  Prospect prospect;
  EXPECT_FALSE(work.look(prospect));
}

}  // namespace
}  // namespace outrider
