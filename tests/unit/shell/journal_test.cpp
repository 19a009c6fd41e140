// SPDX-License-Identifier: Apache-2.0
// The journal on disk: complete or with a gap that is told, bounded, and never
// in the loop's way.
#include "agent/journal.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <filesystem>
#include <thread>
#include <vector>

#include "agent/core/journal_replay.h"
#include "agent/core/peak_forecaster.h"
#include "tests/unit/shell/journal_host.h"

namespace outrider {
namespace {

using std::chrono::milliseconds;

struct ReadBack {
  std::uint64_t ticks = 0;
  std::uint64_t dropped = 0;
  std::size_t segments = 0;
  std::size_t gaps = 0;
};

/// Replays all segments; each must be whole and decide alike.
ReadBack read_back(const std::string& directory) {
  ReadBack all;
  const auto paths = find_segments(directory);
  EXPECT_TRUE(paths);
  for (const std::string& path : *paths) {
    const auto bytes = bytes_of(path);
    JournalReader reader(bytes);
    JournalReplay replay(make_forecaster);
    auto record = reader.next();
    for (; record && *record; record = reader.next()) {
      EXPECT_TRUE(replay.take(**record));
    }
    EXPECT_TRUE(record) << path << ": " << record.error().what;
    EXPECT_FALSE(replay.difference());
    all.ticks += replay.counts().ticks;
    all.dropped += replay.head().dropped;
    all.gaps += replay.ends_in_gap() ? 1 : 0;
    ++all.segments;
  }
  return all;
}

std::uint64_t size_of(const std::string& directory) {
  std::uint64_t size = 0;
  for (const auto& file : std::filesystem::directory_iterator(directory)) {
    size += file.file_size();
  }
  return size;
}

TEST(JournalOnDisk, HoldsEveryTickInADirectoryOfItsOwn) {
  const TemporaryDir dir;
  const auto options = options_in(dir);
  {
    Host host(options);
    host.slow_tick();
    for (int i = 0; i < 500; ++i) host.tick();
    EXPECT_EQ(host.journal->status().dropped, 0U);
  }
  const ReadBack all = read_back(options.config.directory);
  EXPECT_EQ(all.ticks, 500U);
  EXPECT_EQ(all.segments, 1U);
  EXPECT_EQ(all.gaps, 0U);
  struct stat file {};
  ASSERT_EQ(::stat(options.config.directory.c_str(), &file), 0);
  EXPECT_EQ(file.st_mode & 0777U, 0700U);
}

TEST(JournalOnDisk, GoesOnInANewSegmentAfterARestart) {
  const TemporaryDir dir;
  const auto options = options_in(dir);
  for (int run = 0; run < 3; ++run) {
    Host host(options);
    host.slow_tick();
    for (int i = 0; i < 10; ++i) host.tick();
  }
  const ReadBack all = read_back(options.config.directory);
  EXPECT_EQ(all.ticks, 30U);
  EXPECT_EQ(all.segments, 3U);
}

TEST(JournalOnDisk, NeverGrowsAboveItsBound) {
  const TemporaryDir dir;
  auto options = options_in(dir);
  options.config.bytes_max = 300'000;
  options.config.segment_bytes = 20'000;
  {
    Host host(options);
    for (int i = 0; i < 20'000; ++i) {
      host.tick();
      if (i % 5 == 0) host.slow_tick();
      if (i % 500 != 0) continue;
      std::this_thread::sleep_for(milliseconds{30});
      ASSERT_LE(size_of(options.config.directory), options.config.bytes_max);
    }
    EXPECT_GT(host.journal->status().bytes, 2 * options.config.bytes_max);
  }
  EXPECT_LE(size_of(options.config.directory), options.config.bytes_max);
  EXPECT_GT(size_of(options.config.directory), options.config.bytes_max / 2);
  EXPECT_GT(read_back(options.config.directory).segments, 2U);
}

TEST(JournalOnDisk, BeginsANewSegmentAfterSoManyBytes) {
  std::vector<std::size_t> segments;
  for (const std::uint64_t segment_bytes : {20'000U, 2'000'000U}) {
    const TemporaryDir dir;
    auto options = options_in(dir);
    options.config.segment_bytes = segment_bytes;
    {
      Host host(options);
      for (int i = 0; i < 4'000; ++i) {
        host.tick();
        if (i % 5 == 0) host.slow_tick();
        if (i % 500 == 0) std::this_thread::sleep_for(milliseconds{30});
      }
    }
    segments.push_back(read_back(options.config.directory).segments);
  }
  EXPECT_GT(segments[0], 2U);
  EXPECT_EQ(segments[1], 1U);
}

TEST(JournalOnDisk, WhatDoesNotFitIsDroppedAndTold) {
  const TemporaryDir dir;
  auto options = options_in(dir);
  options.ring_bytes = 2'000;
  std::uint64_t dropped = 0;
  {
    Host host(options);
    host.slow_tick();
    for (int i = 0; i < 1000; ++i) host.tick();  // far faster than is written
    dropped = host.journal->status().dropped;
    EXPECT_GT(dropped, 500U);
    EXPECT_FALSE(host.journal->status().is_writing);
    ASSERT_TRUE(host.wait_until(
        [](const JournalStatus& status) { return status.segments == 1; }));
    host.slow_tick();
    EXPECT_TRUE(host.journal->status().is_writing);
    for (int i = 0; i < 3; ++i) host.tick();
  }
  const ReadBack all = read_back(options.config.directory);
  EXPECT_EQ(all.segments, 2U);
  EXPECT_EQ(all.gaps, 1U);
  EXPECT_EQ(all.dropped, dropped);
  EXPECT_EQ(all.ticks + all.dropped, 1003U);
}

// A file that may not grow is like a full disk: EFBIG instead of ENOSPC.
TEST(JournalOnDisk, AFullDiskStopsItAndNothingElse) {
  const TemporaryDir dir;
  auto options = options_in(dir);
  options.retry_after = milliseconds{50};
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  std::uint64_t ticks = 0;
  {
    Host host(options);
    host.slow_tick();
    rlimit tight = before;
    tight.rlim_cur = 150'000;
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &tight), 0);
    const auto has_failed = [&host] {
      return host.journal->status().failures > 0;
    };
    while (!has_failed() && ticks < 1'000'000) {
      host.tick();
      if (++ticks % 100 == 0) std::this_thread::sleep_for(milliseconds{1});
    }
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
    EXPECT_TRUE(has_failed());
    host.tick();
    EXPECT_GT(host.journal->status().dropped, 0U);
    EXPECT_FALSE(host.journal->status().is_writing);
    const std::uint64_t segments = host.journal->status().segments;
    EXPECT_TRUE(host.wait_until([&](const JournalStatus& status) {
      host.slow_tick();
      return status.segments > segments;
    }));
    host.tick();
    EXPECT_TRUE(host.journal->status().is_writing);
  }
  // Cut off behind a whole record.
  const ReadBack all = read_back(options.config.directory);
  EXPECT_EQ(all.segments, 2U);
  EXPECT_GT(all.ticks, 100U);
}

TEST(JournalOnDisk, ADirectoryThatCannotBeMadeIsAnError) {
  const TemporaryDir dir;
  auto options = options_in(dir);
  std::ofstream(options.config.directory) << "a file";
  const auto journal = Journal::make(options);
  ASSERT_FALSE(journal);
  EXPECT_NE(journal.error().what.find(options.config.directory),
            std::string::npos);
}

}  // namespace
}  // namespace outrider
