// SPDX-License-Identifier: Apache-2.0
// What a thread did, as of the instant of the read.
#include <gtest/gtest.h>

#include "tests/unit/eyes/fake_eyes.h"

namespace outrider {
namespace {

using std::chrono::milliseconds;
using After = FakeEyes::After;

constexpr VmId kVm{1};
constexpr pid_t kThread = 1000;
constexpr pid_t kSecond = 1001;
constexpr std::uint64_t kMs = 1'000'000;

class SlotFigures : public ::testing::Test {
 protected:
  SlotFigures() {
    EXPECT_TRUE(slots_.open(kVm, kThread).has_value());
    EXPECT_TRUE(slots_.adopt(kVm, kThread, ThreadClass::kEmulator));
  }

  void pass(int ms) { bpf_.pass(milliseconds{ms}); }
  ThreadSample row(std::size_t i = 0) {
    return bpf_.tick(slots_).threads.at(i);
  }
  std::uint64_t all_runnable_ns() {
    return bpf_.tick(slots_).vms.at(0).all_runnable_ns;
  }

  FakeEyes bpf_;
  Slots slots_{bpf_.eyes()};
};

TEST_F(SlotFigures, AThreadNotSeenToDoAnythingIsUnknown) {
  bpf_.ran_before(kThread, milliseconds{500});
  EXPECT_EQ(row().state, ThreadState::kUnknown);
  EXPECT_EQ(row().run_ns, 0U);
}

TEST_F(SlotFigures, RunInFlightIsBroughtForwardToNow) {
  bpf_.ran_before(kThread, milliseconds{500});
  bpf_.switch_in(kThread);
  pass(3);
  EXPECT_EQ(row().run_ns, 503 * kMs);
  pass(4);
  EXPECT_EQ(row().run_ns, 507 * kMs);
  EXPECT_EQ(row().wait_ns, 0U);
  EXPECT_EQ(row().state, ThreadState::kRunning);
}

TEST_F(SlotFigures, WaitInFlightIsBroughtForwardToNow) {
  bpf_.wake(kThread);
  pass(2);
  EXPECT_EQ(row().wait_ns, 2 * kMs);
  EXPECT_EQ(row().state, ThreadState::kWaiting);
  pass(1);
  bpf_.switch_in(kThread);
  pass(5);
  bpf_.switch_out(kThread, After::kWaits);
  pass(4);
  EXPECT_EQ(row().run_ns, 5 * kMs);
  EXPECT_EQ(row().wait_ns, 7 * kMs);  // 2 + 1 woken, 4 preempted
  EXPECT_EQ(row().wakeups, 1U);
}

// The agent's thread was switched in a while before it reads.
TEST_F(SlotFigures, InFlightIsUpToTheReadAndNotToTheClockPair) {
  bpf_.switch_in(kThread);
  bpf_.take_clock_pair();
  pass(6);
  EXPECT_EQ(slots_.read(bpf_.now()).threads.at(0).run_ns, 6 * kMs);
}

TEST_F(SlotFigures, WithoutAClockPairNothingIsBroughtForward) {
  bpf_.switch_in(kThread);
  pass(6);
  bpf_.switch_out(kThread, After::kWaits);
  pass(6);
  const ThreadSample& found = slots_.read(bpf_.now()).threads.at(0);
  EXPECT_EQ(found.run_ns, 6 * kMs);
  EXPECT_EQ(found.wait_ns, 0U);
}

// The kernel takes interrupts out of a thread's run time, the clock does not.
TEST_F(SlotFigures, RunNeverGoesBackWhenTheTrueSumIsLower) {
  bpf_.switch_in(kThread);
  pass(10);
  EXPECT_EQ(row().run_ns, 10 * kMs);
  bpf_.lose(kThread, milliseconds{4});
  bpf_.switch_out(kThread, After::kSleeps);  // with 6 ms
  EXPECT_EQ(row().run_ns, 10 * kMs);
  bpf_.wake(kThread);
  bpf_.switch_in(kThread);
  pass(3);  // 9 ms
  EXPECT_EQ(row().run_ns, 10 * kMs);
  pass(3);
  EXPECT_EQ(row().run_ns, 12 * kMs);
}

TEST_F(SlotFigures, WaitNeverGoesBackWhenTheTrueSumIsLower) {
  bpf_.wake(kThread);
  pass(10);
  EXPECT_EQ(row().wait_ns, 10 * kMs);
  bpf_.switch_in(kThread);
  bpf_.thread(kThread).wait_ns -= 1 * kMs;  // by another CPU's clock
  EXPECT_EQ(row().wait_ns, 10 * kMs);
}

TEST_F(SlotFigures, FiguresDoNotGoBackWhenAnotherThreadComes) {
  bpf_.switch_in(kThread);
  pass(10);
  EXPECT_EQ(row().run_ns, 10 * kMs);
  bpf_.lose(kThread, milliseconds{4});
  bpf_.switch_out(kThread, After::kSleeps);
  bpf_.be_born(kSecond, kThread);
  EXPECT_EQ(row().run_ns, 10 * kMs);
  EXPECT_EQ(row(1).run_ns, 0U);
}

TEST_F(SlotFigures, ASleepingThreadsRowDoesNotChange) {
  bpf_.switch_in(kThread);
  pass(3);
  bpf_.switch_out(kThread, After::kSleeps);
  const ThreadSample asleep = row();
  EXPECT_EQ(asleep.state, ThreadState::kSleeping);
  for (int i = 0; i < 10; ++i) {
    pass(100);
    EXPECT_EQ(row(), asleep);
  }
}

TEST_F(SlotFigures, ABusyPeriodIsOpenFromWakeUpToSleep) {
  bpf_.ran_before(kThread, milliseconds{500});
  bpf_.wake(kThread);
  pass(1);
  bpf_.switch_in(kThread);
  pass(2);
  bpf_.switch_out(kThread, After::kWaits);
  pass(3);
  EXPECT_EQ(row().open_run_ns, 2 * kMs);
  EXPECT_EQ(row().open_wait_ns, 4 * kMs);  // 1 woken, 3 preempted
  bpf_.switch_in(kThread);
  pass(5);
  EXPECT_EQ(row().open_run_ns, 7 * kMs);
  EXPECT_EQ(row().open_wait_ns, 4 * kMs);
}

TEST_F(SlotFigures, ABusyPeriodClosesWithSleepAndTheNextBeginsAtNothing) {
  bpf_.wake(kThread);
  pass(1);
  bpf_.switch_in(kThread);
  pass(2);
  bpf_.switch_out(kThread, After::kSleeps);
  pass(3);
  EXPECT_EQ(row().open_run_ns, 0U);
  EXPECT_EQ(row().open_wait_ns, 0U);
  bpf_.wake(kThread);
  EXPECT_EQ(row().open_run_ns, 0U);
  EXPECT_EQ(row().open_wait_ns, 0U);
  pass(4);
  EXPECT_EQ(row().open_wait_ns, 4 * kMs);
  EXPECT_EQ(row().run_ns, 2 * kMs);
  EXPECT_EQ(row().wait_ns, 5 * kMs);
}

TEST_F(SlotFigures, AThreadFirstSeenOnItsCpuBeginsItsBusyPeriodThen) {
  bpf_.ran_before(kThread, milliseconds{500});
  bpf_.switch_out(kThread, After::kWaits);
  pass(2);
  EXPECT_EQ(row().run_ns, 500 * kMs);
  EXPECT_EQ(row().open_run_ns, 0U);
  EXPECT_EQ(row().open_wait_ns, 2 * kMs);
}

TEST_F(SlotFigures, MigrationsAreCounted) {
  bpf_.switch_in(kThread, 3);
  bpf_.switch_out(kThread, After::kSleeps);
  bpf_.wake(kThread);
  bpf_.switch_in(kThread, 5);
  EXPECT_EQ(row().migrations, 2U);
}

TEST_F(SlotFigures, WhatKvmSaysIsInTheVcpusRow) {
  bpf_.enter_guest(kThread, 7);
  bpf_.leave_guest(kThread, EYES_EXIT_HALT);
  bpf_.leave_guest(kThread, EYES_EXIT_HALT);
  bpf_.leave_guest(kThread, EYES_EXIT_OTHER);
  bpf_.vcpu(kThread).halt_poll_ns = 11;
  bpf_.vcpu(kThread).guest_ns = 13;
  const Sample& sample = bpf_.tick(slots_);
  ASSERT_EQ(sample.vcpus.size(), 1U);
  EXPECT_EQ(sample.threads[0].vcpu, 7U);
  EXPECT_EQ(sample.vcpus[0].exits[std::size_t(ExitClass::kHalt)], 2U);
  EXPECT_EQ(sample.vcpus[0].exits[std::size_t(ExitClass::kOther)], 1U);
  EXPECT_EQ(sample.vcpus[0].halt_poll_ns, 11U);
  EXPECT_EQ(sample.vcpus[0].guest_ns, 13U);
}

TEST_F(SlotFigures, OneVcpuIsAllRunnableWhileItRunsOrWaits) {
  bpf_.switch_in(kThread);
  pass(10);
  bpf_.enter_guest(kThread, 0);  // from here on
  EXPECT_EQ(all_runnable_ns(), 0U);
  pass(3);
  EXPECT_EQ(all_runnable_ns(), 3 * kMs);
  bpf_.switch_out(kThread, After::kWaits);
  pass(4);
  EXPECT_EQ(all_runnable_ns(), 7 * kMs);
  bpf_.switch_in(kThread);
  bpf_.switch_out(kThread, After::kSleeps);
  pass(50);
  EXPECT_EQ(all_runnable_ns(), 7 * kMs);
  bpf_.wake(kThread);
  pass(1);
  bpf_.switch_in(kThread);
  pass(1);
  EXPECT_EQ(all_runnable_ns(), 9 * kMs);
}

TEST_F(SlotFigures, TwoVcpusAreAllRunnableWhileBothRunOrWait) {
  bpf_.be_born(kSecond, kThread);
  bpf_.switch_in(kThread, 0);
  bpf_.switch_in(kSecond, 1);
  bpf_.enter_guest(kThread, 0);
  pass(2);  // of the one that there is
  bpf_.enter_guest(kSecond, 1);
  pass(3);
  EXPECT_EQ(all_runnable_ns(), 5 * kMs);
  bpf_.switch_out(kSecond, After::kSleeps);
  pass(10);
  EXPECT_EQ(all_runnable_ns(), 5 * kMs);
  bpf_.switch_out(kThread, After::kSleeps);
  pass(10);
  bpf_.wake(kSecond);
  pass(10);
  EXPECT_EQ(all_runnable_ns(), 5 * kMs);
  bpf_.wake(kThread);
  pass(7);
  bpf_.switch_in(kThread, 0);
  bpf_.switch_in(kSecond, 1);
  EXPECT_EQ(all_runnable_ns(), 12 * kMs);
}

TEST_F(SlotFigures, AVcpuThatExitsWhileAllRunLeavesTheRestAllRunnable) {
  bpf_.be_born(kSecond, kThread);
  bpf_.switch_in(kThread, 0);
  bpf_.switch_in(kSecond, 1);
  bpf_.enter_guest(kThread, 0);
  bpf_.enter_guest(kSecond, 1);
  pass(5);
  bpf_.finish(bpf_.unlink(kSecond));
  pass(5);
  EXPECT_EQ(all_runnable_ns(), 10 * kMs);
  bpf_.switch_out(kThread, After::kSleeps);
  pass(4);
  EXPECT_EQ(all_runnable_ns(), 10 * kMs);
}

TEST_F(SlotFigures, TwoVcpusThatTakeTurnsAreNeverAllRunnable) {
  bpf_.be_born(kSecond, kThread);
  bpf_.switch_in(kThread);
  bpf_.enter_guest(kThread, 0);
  bpf_.switch_out(kThread, After::kSleeps);
  bpf_.switch_in(kSecond);
  bpf_.enter_guest(kSecond, 1);
  for (int i = 0; i < 20; ++i) {
    pass(3);
    bpf_.switch_out(i % 2 == 0 ? kSecond : kThread, After::kSleeps);
    bpf_.switch_in(i % 2 == 0 ? kThread : kSecond);
    EXPECT_EQ(all_runnable_ns(), 0U);
  }
}

// BPF counts the vCPU before it adds up the time.
TEST_F(SlotFigures, ACrossingSeenHalfWayIsNoTimeAllRunnable) {
  bpf_.enter_guest(kThread, 0);
  bpf_.switch_out(kThread, After::kSleeps);
  EXPECT_EQ(all_runnable_ns(), 0U);
  bpf_.wake(kThread);
  bpf_.memory().vms[slots_.slot_of_vm(kVm)].all_runnable_ns += bpf_.rq_now();
  EXPECT_EQ(all_runnable_ns(), 0U);
  bpf_.memory().vms[slots_.slot_of_vm(kVm)].all_runnable_ns -= bpf_.rq_now();
  pass(2);
  EXPECT_EQ(all_runnable_ns(), 2 * kMs);
}

TEST_F(SlotFigures, TimeAllRunnableNeverGoesBack) {
  bpf_.enter_guest(kThread, 0);
  pass(5);
  EXPECT_EQ(all_runnable_ns(), 5 * kMs);
  bpf_.switch_out(kThread, After::kSleeps);
  // By the clock of the CPU it slept on, which is behind.
  bpf_.memory().vms[slots_.slot_of_vm(kVm)].all_runnable_ns -= 2 * kMs;
  EXPECT_EQ(all_runnable_ns(), 5 * kMs);
}

}  // namespace
}  // namespace outrider
