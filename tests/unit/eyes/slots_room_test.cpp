// SPDX-License-Identifier: Apache-2.0
// Bounds: what there is room for, and what happens beyond.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/eyes/fake_eyes.h"

namespace outrider {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

constexpr VmId kVm{1};
constexpr pid_t kLeader = 1000;
constexpr std::uint32_t kQueued = 1024;
constexpr std::uint32_t kAll = EYES_THREADS_MAX - 1;  // slot 0 is none

class SlotRoom : public ::testing::Test {
 protected:
  SlotRoom() {
    EXPECT_TRUE(slots_.open(kVm, kLeader).has_value());
    EXPECT_TRUE(slots_.adopt(kVm, kLeader, ThreadClass::kEmulator));
  }

  const Sample& tick() {
    bpf_.pass(milliseconds{20});
    return bpf_.tick(slots_);
  }
  void be_born(std::uint32_t count) {
    for (; count > 0; --count) bpf_.be_born(++last_tid_, kLeader);
  }
  // How many user space gives slots to until it has none left.
  std::uint32_t adopt_all() {
    std::uint32_t count = 0;
    while (slots_.adopt(kVm, last_tid_ + 1, ThreadClass::kEmulator)) {
      ++last_tid_;
      ++count;
    }
    return count;
  }

  FakeEyes bpf_;
  Slots slots_{bpf_.eyes()};
  pid_t last_tid_ = kLeader;
};

TEST_F(SlotRoom, TheQueueIsFullAgainAfterEachRead) {
  EXPECT_EQ(bpf_.queued(), kQueued);
  for (int i = 0; i < 5; ++i) {
    be_born(700);
    EXPECT_EQ(bpf_.queued(), kQueued - 700);
    (void)tick();
    EXPECT_EQ(bpf_.queued(), kQueued);
  }
  EXPECT_EQ(slots_.threads_in_use(), 3501U);
  EXPECT_EQ(slots_.sample().threads.size(), 3501U);
  EXPECT_EQ(slots_.sample().lost, 0U);
}

TEST_F(SlotRoom, ThreadsThatFindTheQueueEmptyAreCounted) {
  be_born(kQueued + 10);
  EXPECT_EQ(tick().lost, 10U);
  EXPECT_EQ(slots_.sample().threads.size(), 1 + kQueued);
  be_born(1);
  EXPECT_EQ(tick().lost, 10U);
  EXPECT_EQ(slots_.sample().threads.size(), 2 + kQueued);
}

TEST_F(SlotRoom, EverythingLostIsInTheSample) {
  bpf_.memory().lost = {.threads = 2, .events = 30, .blame = 400};
  EXPECT_EQ(tick().lost, 432U);
}

TEST_F(SlotRoom, WithoutASlotLeftAThreadIsRefusedAndNothingElseHappens) {
  EXPECT_EQ(adopt_all(), kAll - 1 - kQueued);
  EXPECT_FALSE(slots_.adopt(kVm, last_tid_ + 1, ThreadClass::kEmulator));
  EXPECT_EQ(bpf_.slot_of(last_tid_ + 1), 0U);
  EXPECT_TRUE(slots_.adopt(kVm, kLeader, ThreadClass::kEmulator));  // has one
  EXPECT_EQ(slots_.threads_in_use(), kAll - kQueued);
  // What BPF has in its queue is for threads that are born.
  be_born(kQueued);
  EXPECT_EQ(slots_.threads_in_use(), kAll);
  EXPECT_EQ(tick().threads.size(), kAll);
  EXPECT_EQ(slots_.sample().lost, 0U);
  be_born(3);
  EXPECT_EQ(tick().lost, 3U);
  EXPECT_EQ(slots_.sample().threads.size(), kAll);
}

TEST_F(SlotRoom, AfterExhaustionEverySlotComesBack) {
  (void)adopt_all();
  be_born(kQueued + 1);
  for (int i = 0; i < 4; ++i) (void)tick();
  slots_.close(kVm);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(tick().threads.empty());
  EXPECT_EQ(slots_.threads_in_use(), 0U);
  EXPECT_EQ(bpf_.queued(), kQueued);
  ASSERT_TRUE(slots_.open(VmId{2}, kLeader).has_value());
  EXPECT_TRUE(slots_.adopt(VmId{2}, kLeader, ThreadClass::kEmulator));
  // The lowest of what is not queued: slots in use stay together.
  EXPECT_EQ(bpf_.slot_of(kLeader), kQueued + 1);
}

TEST_F(SlotRoom, WithoutMemoryForASlotAThreadIsRefused) {
  bpf_.slot_max = bpf_.slot_of(kLeader) + 2;
  EXPECT_EQ(adopt_all(), 2U);
  EXPECT_EQ(tick().threads.size(), 3U);
  EXPECT_EQ(slots_.threads_in_use(), 3U);
  bpf_.slot_max = kAll;
  EXPECT_TRUE(slots_.adopt(kVm, ++last_tid_, ThreadClass::kEmulator));
}

TEST_F(SlotRoom, WithoutAVmSlotLeftAVmIsRefused) {
  constexpr std::uint32_t kVms = EYES_VMS_MAX - 2;  // none, and the agent's
  for (std::uint32_t vm = 2; vm <= kVms; ++vm) {
    ASSERT_TRUE(slots_.open(VmId{vm}, 1).has_value()) << vm;
  }
  const VmId more{kVms + 1};
  const auto refused = slots_.open(more, 1);
  ASSERT_FALSE(refused.has_value());
  EXPECT_THAT(refused.error().what, HasSubstr("all 4094 VM slots"));
  EXPECT_EQ(slots_.vms_in_use(), kVms);
  EXPECT_EQ(slots_.slot_of_vm(more), 0U);
  EXPECT_EQ(tick().vms.size(), kVms);
  slots_.close(VmId{7});
  (void)tick();
  (void)tick();
  EXPECT_TRUE(slots_.open(more, 1).has_value());
  EXPECT_EQ(tick().vms.size(), kVms);
}

}  // namespace
}  // namespace outrider
