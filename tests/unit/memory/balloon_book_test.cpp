// SPDX-License-Identifier: Apache-2.0
#include "agent/balloon_book.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace outrider {
namespace {

class BalloonBookOnDisk : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "balloonsXXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    directory_ = name;
    auto proc = ProcRoot::open();
    ASSERT_TRUE(proc);
    proc_ = std::make_unique<ProcRoot>(std::move(*proc));
    auto stat = read_stat(*proc_, getpid());
    ASSERT_TRUE(stat);
    self_.pid = getpid();
    self_.start_ticks = stat->start_ticks;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  Result<BalloonBook> open() { return BalloonBook::open(directory_, *proc_); }
  HeldBalloon held(std::int64_t target) const {
    return {.pid = self_.pid,
            .start_ticks = self_.start_ticks,
            .baseline = Bytes{1 << 30},
            .target = Bytes{target}};
  }
  void write(const std::string& text) const {
    std::ofstream(directory_ + "/balloons") << text;
  }

  std::string directory_;
  std::unique_ptr<ProcRoot> proc_;
  VmIdentity self_;
};

TEST_F(BalloonBookOnDisk, WhatWasNotedIsThereForTheNextAgent) {
  auto book = open();
  ASSERT_TRUE(book);
  ASSERT_TRUE(book->note(held(700)));
  ASSERT_TRUE(book->note(held(600)));
  auto next = open();
  ASSERT_TRUE(next);
  ASSERT_NE(next->find(self_), nullptr);
  EXPECT_EQ(*next->find(self_), held(600));
  EXPECT_EQ(next->held().size(), 1U);
}

TEST_F(BalloonBookOnDisk, WhatWasForgottenIsNot) {
  auto book = open();
  ASSERT_TRUE(book);
  ASSERT_TRUE(book->note(held(700)));
  ASSERT_TRUE(book->forget(self_));
  EXPECT_EQ(open()->find(self_), nullptr);
}

TEST_F(BalloonBookOnDisk, AnotherProcessWithThePidIsNotIt) {
  HeldBalloon other = held(700);
  other.start_ticks += 1;
  auto book = open();
  ASSERT_TRUE(book);
  ASSERT_TRUE(book->note(other));
  EXPECT_EQ(book->find(self_), nullptr);
  EXPECT_TRUE(open()->held().empty());
}

TEST_F(BalloonBookOnDisk, LinesThatAreNoneArePassedOver) {
  const std::string its =
      std::to_string(self_.pid) + ' ' + std::to_string(self_.start_ticks) + ' ';
  write("nonsense\n" + its + "5\n" + its + "5 6\n" + its + "-5 4\n" + its +
        "99999999999999999999 4\n" + its + "900 800\n\n");
  auto book = open();
  ASSERT_TRUE(book);
  ASSERT_EQ(book->held().size(), 1U);
  EXPECT_EQ(book->held()[0].target, Bytes{800});
}

TEST_F(BalloonBookOnDisk, SaysWhereItCannotBeKept) {
  auto book = open();
  ASSERT_TRUE(book);
  std::filesystem::remove_all(directory_);
  auto noted = book->note(held(700));
  ASSERT_FALSE(noted);
  EXPECT_NE(noted.error().what.find(directory_), std::string::npos);
}

}  // namespace
}  // namespace outrider
