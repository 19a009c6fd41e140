// SPDX-License-Identifier: Apache-2.0
#include "agent/rollup_files.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#include <cerrno>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <string>

#include "tests/unit/shell/temporary_dir.h"

namespace outrider {
namespace {

namespace fs = std::filesystem;

constexpr const char* kUuid = "6c1f0c4e-2bd1-4d7a-9d2f-0f4b6a6f1a11";
constexpr Slot kSome = 5'900'000;

std::string in(const TemporaryDir& dir) { return dir.path() + "/a/rollups"; }

RollupFiles open_files(const TemporaryDir& dir) {
  auto files = RollupFiles::open(in(dir));
  EXPECT_TRUE(files) << files.error().what;
  return *std::move(files);
}

std::string path_of(const TemporaryDir& dir) {
  return in(dir) + "/" + kUuid + ".rollup";
}

Rollup of_one(float peak) {
  Rollup rollup;
  rollup.put(kSome, {.peak = peak, .p95 = 1});
  return rollup;
}

std::size_t files_in(const TemporaryDir& dir) {
  const fs::directory_iterator all(in(dir));
  return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

TEST(RollupFiles, NamesAreOfDigitsAlone) {
  EXPECT_TRUE(RollupFiles::is_name(kUuid));
  EXPECT_TRUE(RollupFiles::is_name("ABCDEFabcdef0123456789"));
  for (const char* bad : {"", ".", "..", "../a", "a/b", "a.b", "g", "a b", "\n",
                          "0123456789012345678901234567890123456"}) {
    EXPECT_FALSE(RollupFiles::is_name(bad)) << bad;
  }
  EXPECT_FALSE(RollupFiles::is_name(std::string_view("a\0b", 3)));
}

TEST(RollupFiles, GivesBackWhatWasWritten) {
  const TemporaryDir dir;
  const RollupFiles files = open_files(dir);
  struct stat made {};
  ASSERT_EQ(::stat(in(dir).c_str(), &made), 0);
  EXPECT_EQ(made.st_mode & 0777, 0700U);
  const auto none = files.read(kUuid);
  ASSERT_TRUE(none);
  EXPECT_TRUE(none->is_empty());
  ASSERT_TRUE(files.write(kUuid, of_one(8)));
  ASSERT_TRUE(files.write(kUuid, of_one(4)));
  const auto back = files.read(kUuid);
  ASSERT_TRUE(back) << back.error().what;
  EXPECT_EQ(back->at(kSome).peak, 4);
  EXPECT_EQ(files_in(dir), 1U);
  ASSERT_TRUE(RollupFiles::open(in(dir))) << "it is there already";
}

TEST(RollupFiles, SaysWhatIsDamaged) {
  const TemporaryDir dir;
  const RollupFiles files = open_files(dir);
  for (const std::size_t size : {0, 100, 16'000}) {
    ASSERT_TRUE(files.write(kUuid, of_one(8)));
    fs::resize_file(path_of(dir), size);
    const auto back = files.read(kUuid);
    ASSERT_FALSE(back) << size;
    EXPECT_EQ(back.error().code, 0);
    EXPECT_EQ(back.error().what.find(kUuid), 0U);
  }
  std::ofstream(path_of(dir)) << std::string(100'000, 'x');
  EXPECT_FALSE(files.read(kUuid));
  fs::remove(path_of(dir));
  fs::create_directory(path_of(dir));
  EXPECT_FALSE(files.read(kUuid));
  EXPECT_FALSE(files.write(kUuid, of_one(8)));
  EXPECT_EQ(files_in(dir), 1U) << "nothing is left beside it";
}

TEST(RollupFiles, NamesAFileOfAnotherVersion) {
  const TemporaryDir dir;
  const RollupFiles files = open_files(dir);
  ASSERT_TRUE(files.write(kUuid, of_one(8)));
  std::fstream(path_of(dir), std::ios::in | std::ios::out).seekp(8).put(2);
  const auto back = files.read(kUuid);
  ASSERT_FALSE(back);
  EXPECT_EQ(back.error().code, ENOTSUP);
  EXPECT_EQ(back.error().what,
            std::string(kUuid) + ".rollup: version 2, want 1");
}

// A fifo is waited for by whoever opens it to write.
TEST(RollupFiles, WaitsForNothingThatLiesInItsWay) {
  const TemporaryDir dir;
  const RollupFiles files = open_files(dir);
  const std::string beside = in(dir) + "/" + kUuid + ".new";
  ASSERT_EQ(::mkfifo(beside.c_str(), 0600), 0);
  ASSERT_TRUE(files.write(kUuid, of_one(8)));
  EXPECT_TRUE(fs::is_regular_file(path_of(dir)));
  fs::create_symlink(dir.path() + "/elsewhere", beside);
  ASSERT_TRUE(files.write(kUuid, of_one(4)));
  EXPECT_FALSE(fs::exists(dir.path() + "/elsewhere"));
  EXPECT_EQ(files.read(kUuid)->at(kSome).peak, 4);
}

// A file that may not grow is like a full disk: EFBIG instead of ENOSPC.
TEST(RollupFiles, AFullDirectoryLeavesWhatWasThere) {
  const TemporaryDir dir;
  const RollupFiles files = open_files(dir);
  ASSERT_TRUE(files.write(kUuid, of_one(8)));
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit tight = before;
  tight.rlim_cur = 10'000;
  const auto handler = ::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &tight), 0);
  const auto written = files.write(kUuid, of_one(4));
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  (void)::signal(SIGXFSZ, handler);
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code, EFBIG);
  EXPECT_EQ(files.read(kUuid)->at(kSome).peak, 8);
  EXPECT_EQ(files_in(dir), 1U);
}

TEST(RollupFiles, ADirectoryThatCannotBeMadeIsAnError) {
  const TemporaryDir dir;
  std::ofstream(dir.path() + "/a") << "a file";
  EXPECT_FALSE(RollupFiles::open(in(dir)));
}

TEST(RollupFiles, RemovesWhatWasNotWrittenForFourteenDaysAndNothingElse) {
  const TemporaryDir dir;
  const RollupFiles files = open_files(dir);
  const std::int64_t now = ::time(nullptr);
  constexpr std::int64_t kDay = 86'400;
  ASSERT_TRUE(files.write(kUuid, of_one(8)));
  std::ofstream(in(dir) + "/abc.new") << "left by an agent that was killed";
  for (const char* other : {"notes.txt", "x.rollup", ".rollup"}) {
    std::ofstream(in(dir) + "/" + other) << "somebody's";
  }
  EXPECT_EQ(files.remove_old(now + 14 * kDay - 60), 0U);
  EXPECT_EQ(files.remove_old(now + 14 * kDay + 60), 2U);
  EXPECT_FALSE(fs::exists(path_of(dir)));
  EXPECT_EQ(files_in(dir), 3U);
}

}  // namespace
}  // namespace outrider
