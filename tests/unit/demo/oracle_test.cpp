// SPDX-License-Identifier: Apache-2.0
#include "bench/demo/oracle.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace outrider::demo {
namespace {

using std::chrono::milliseconds;

/// A guest's marks and plan in files, and the instant that is its time 0.
class OracleTest : public testing::Test {
 protected:
  OracleTest() {
    const std::string own = "oracle-test-" + std::to_string(::getpid());
    guest_.marks = folder_ / (own + "-marks");
    guest_.plan = folder_ / (own + "-plan");
    // A burst at 1 s with 0.5 s of work.
    std::ofstream(guest_.plan) << "980000 1100\n1500000 100\n";
    std::ofstream(guest_.marks) << "1000000000 LEAD 60\n2000000000 B 0 0\n";
  }
  ~OracleTest() override {
    std::filesystem::remove(guest_.marks);
    std::filesystem::remove(guest_.plan);
  }
  void mark(const std::string& line) {
    std::ofstream(guest_.marks, std::ios::app) << line << '\n';
  }

  std::filesystem::path folder_ = std::filesystem::temp_directory_path();
  Guest guest_;
  // The guest went at 100 s, with a lead of 6.
  const std::string went_ = "100000000000 LEAD 6";
  const Instant zero_{milliseconds{106'100}};
};

TEST_F(OracleTest, HoldsTheFloorUntilItsGuestWent) {
  Oracle oracle(guest_);  // what was marked before is another turn's
  EXPECT_EQ(oracle.cap_at(zero_ + milliseconds{1100}), kFloor);
}

TEST_F(OracleTest, FollowsThePlan) {
  Oracle oracle(guest_);
  mark(went_);
  EXPECT_EQ(oracle.cap_at(zero_ + milliseconds{979}), kFloor);
  EXPECT_EQ(oracle.cap_at(zero_ + milliseconds{980}), MilliCpus{1100});
  EXPECT_EQ(oracle.cap_at(zero_ + milliseconds{1500}), kFloor);
}

TEST_F(OracleTest, KeepsTheCapOfABurstThatIsNotOver) {
  Oracle oracle(guest_);
  mark(went_);
  EXPECT_EQ(oracle.cap_at(zero_ + milliseconds{1000}), MilliCpus{1100});
  mark("107100000000 B 0 1");
  EXPECT_EQ(oracle.cap_at(zero_ + milliseconds{1700}), MilliCpus{1100});
  mark("107900000000 E 0 1");
  EXPECT_EQ(oracle.cap_at(zero_ + milliseconds{1800}), kFloor);
}

}  // namespace
}  // namespace outrider::demo
