// SPDX-License-Identifier: Apache-2.0
// How threads and VMs go, and what they leave.
#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>

#include "tests/unit/eyes/fake_eyes.h"
#include "tests/unit/shell/allocations.h"

namespace outrider {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using After = FakeEyes::After;

constexpr VmId kVm{1};
constexpr pid_t kLeader = 1000;
constexpr pid_t kWorker = 1001;
constexpr std::uint64_t kMs = 1'000'000;

class SlotLife : public ::testing::Test {
 protected:
  const Sample& tick() {
    bpf_.pass(milliseconds{20});
    return bpf_.tick(slots_);
  }
  void open(VmId vm, pid_t tgid) {
    ASSERT_TRUE(slots_.open(vm, tgid).has_value());
    ASSERT_TRUE(slots_.adopt(vm, tgid, ThreadClass::kEmulator));
  }
  // A VM of three threads: QEMU's own, a vCPU and one that BPF adopted.
  void open_whole(VmId vm, pid_t tgid) {
    open(vm, tgid);
    ASSERT_TRUE(slots_.adopt(vm, tgid + 1, ThreadClass::kEmulator));
    bpf_.enter_guest(tgid + 1, 0);
    bpf_.be_born(tgid + 2, tgid);
    ASSERT_NE(bpf_.slot_of(tgid + 2), 0U);
  }

  FakeEyes bpf_;
  Slots slots_{bpf_.eyes()};
};

TEST_F(SlotLife, AVmIsFoundByItsIdAndByItsSlot) {
  open(kVm, kLeader);
  const std::uint32_t slot = slots_.slot_of_vm(kVm);
  EXPECT_GT(slot, static_cast<std::uint32_t>(EYES_VM_AGENT));
  EXPECT_EQ(slots_.vm_of_slot(slot), kVm);
  EXPECT_EQ(slots_.tgid_of(kVm), kLeader);
  EXPECT_EQ(bpf_.memory().vms[slot].tgid, static_cast<__u32>(kLeader));
  EXPECT_EQ(slots_.slot_of_vm(VmId{2}), 0U);
  EXPECT_EQ(slots_.tgid_of(VmId{2}), 0);
  EXPECT_EQ(slots_.vm_of_slot(EYES_VMS_MAX), VmId{});
}

TEST_F(SlotLife, AnExitedThreadsLastFiguresStayAboutASecond) {
  open(kVm, kLeader);
  bpf_.be_born(kWorker, kLeader);
  bpf_.switch_in(kWorker);
  bpf_.pass(milliseconds{7});
  bpf_.end(kWorker);
  const Instant end = bpf_.now();
  while (bpf_.now() < end + milliseconds{1000}) {
    const Sample& sample = tick();
    ASSERT_EQ(sample.threads.size(), 2U);
    EXPECT_EQ(sample.threads[1].state, ThreadState::kExited);
    EXPECT_EQ(sample.threads[1].run_ns, 7 * kMs);
    EXPECT_EQ(sample.threads[1].open_run_ns, 0U);
    EXPECT_EQ(slots_.threads_in_use(), 2U);
  }
  (void)tick();  // more than a second: given out for the last time
  (void)tick();
  EXPECT_EQ(slots_.sample().threads.size(), 1U);
  EXPECT_EQ(slots_.threads_in_use(), 1U);
}

TEST_F(SlotLife, AReaderOfOnceASecondSeesTheLastFiguresToo) {
  open(kVm, kLeader);
  bpf_.be_born(kWorker, kLeader);
  (void)tick();
  bpf_.switch_in(kWorker);
  bpf_.pass(milliseconds{7});
  bpf_.end(kWorker);
  bpf_.pass(seconds{5});
  ASSERT_EQ(tick().threads.size(), 2U);
  EXPECT_EQ(slots_.sample().threads[1].run_ns, 7 * kMs);
  EXPECT_EQ(tick().threads.size(), 1U);
}

TEST_F(SlotLife, AClosedVmIsInNoSampleAnyMore) {
  open_whole(kVm, kLeader);
  open_whole(VmId{2}, 2000);
  (void)tick();
  slots_.close(kVm);
  EXPECT_EQ(slots_.slot_of_vm(kVm), 0U);
  ASSERT_EQ(tick().vms.size(), 1U);
  EXPECT_EQ(slots_.sample().vms[0].id, VmId{2});
  EXPECT_EQ(slots_.sample().threads.size(), 3U);
}

// A program of another CPU may have looked the slot up just before.
TEST_F(SlotLife, SlotsOfAClosedVmAreFreeAfterTwoReads) {
  open_whole(kVm, kLeader);
  (void)tick();
  const std::uint32_t vm_slot = slots_.slot_of_vm(kVm);
  slots_.close(kVm);
  EXPECT_EQ(slots_.vm_of_slot(vm_slot), VmId{});
  (void)tick();
  EXPECT_EQ(slots_.threads_in_use(), 3U);
  open(VmId{2}, 2000);
  EXPECT_NE(slots_.slot_of_vm(VmId{2}), vm_slot);
  (void)tick();
  EXPECT_EQ(slots_.threads_in_use(), 1U);
  open(VmId{3}, 3000);
  EXPECT_EQ(slots_.slot_of_vm(VmId{3}), vm_slot);
}

TEST_F(SlotLife, TheSampleStaysAsItIsWhenAVmIsClosed) {
  open_whole(kVm, kLeader);
  const Sample before = tick();
  bpf_.be_born(kLeader + 3, kLeader);
  slots_.close(kVm);
  EXPECT_EQ(slots_.sample(), before);
}

TEST_F(SlotLife, ClosingLetsGoOfThreadsThatNoReadHasSeen) {
  open(kVm, kLeader);
  (void)tick();
  bpf_.be_born(kWorker, kLeader);
  slots_.close(kVm);
  EXPECT_EQ(bpf_.slot_of(kLeader), 0U);
  EXPECT_EQ(bpf_.slot_of(kWorker), 0U);
  (void)tick();
  (void)tick();
  EXPECT_EQ(slots_.threads_in_use(), 0U);
}

// BPF found the leader's slot before it was closed.
TEST_F(SlotLife, AThreadBornWhileItsVmIsClosedLeavesNothing) {
  open(kVm, kLeader);
  const std::uint32_t slot = bpf_.fill_slot(kWorker, slots_.slot_of_vm(kVm));
  slots_.close(kVm);
  bpf_.publish(kWorker, slot);
  (void)tick();
  (void)tick();
  EXPECT_EQ(bpf_.slot_of(kWorker), 0U);
  EXPECT_EQ(slots_.threads_in_use(), 0U);
}

TEST_F(SlotLife, ClosingTakesBackEveryEntryOfTheIndex) {
  open_whole(kVm, kLeader);
  (void)tick();
  bpf_.end(kLeader + 2);
  slots_.close(kVm);
  for (pid_t tid = kLeader; tid < kLeader + 3; ++tid) {
    EXPECT_EQ(bpf_.slot_of(tid), 0U) << tid;
  }
  slots_.close(kVm);  // a second time: nothing
  (void)tick();
  (void)tick();
  EXPECT_EQ(slots_.threads_in_use(), 0U);
}

TEST_F(SlotLife, AVmInASlotUsedBeforeBeginsAtNothing) {
  open(kVm, kLeader);
  bpf_.enter_guest(kLeader, 0);
  slots_.set_edges(kVm, {.quota_left = milliseconds{1}, .wait_in_window = {}});
  (void)tick();
  const std::uint32_t slot = slots_.slot_of_vm(kVm);
  slots_.close(kVm);
  (void)tick();
  (void)tick();
  open(VmId{2}, 2000);
  ASSERT_EQ(slots_.slot_of_vm(VmId{2}), slot);
  EXPECT_EQ(bpf_.memory().vms[slot].quota_edge_ns, 0U);
  EXPECT_EQ(tick().vms.at(0).all_runnable_ns, 0U);
  EXPECT_EQ(slots_.sample().threads.at(0).run_ns, 0U);
}

TEST_F(SlotLife, ThresholdsAreWrittenInNanoseconds) {
  open(kVm, kLeader);
  slots_.set_edges(
      kVm, {.quota_left = milliseconds{3}, .wait_in_window = milliseconds{2}});
  const eyes_vm& record = bpf_.memory().vms[slots_.slot_of_vm(kVm)];
  EXPECT_EQ(record.quota_edge_ns, 3 * kMs);
  EXPECT_EQ(record.wait_edge_ns, 2 * kMs);
  slots_.set_edges(kVm, {});
  EXPECT_EQ(record.quota_edge_ns, 0U);
  EXPECT_EQ(record.wait_edge_ns, 0U);
  slots_.set_edges(VmId{2}, {.quota_left = milliseconds{3},
                             .wait_in_window = milliseconds{2}});
  EXPECT_EQ(bpf_.memory().vms[0].quota_edge_ns, 0U);
}

TEST_F(SlotLife, AThousandVmsTwentyTimesLeaveNothingAndGrowNothing) {
  constexpr std::uint32_t kVms = 1000;
  std::uint32_t next_vm = 0;
  std::uint32_t reached = 0;
  for (int turn = 0; turn < 20; ++turn) {
    const std::uint32_t first = next_vm;
    for (std::uint32_t i = 0; i < kVms; ++i) {
      if (bpf_.queued() == 0) (void)tick();
      ++next_vm;
      open_whole(VmId{next_vm}, static_cast<pid_t>(next_vm * 10));
    }
    ASSERT_EQ(tick().threads.size(), 3 * kVms);
    EXPECT_EQ(slots_.vms_in_use(), kVms);
    for (std::uint32_t vm = first; vm < next_vm;) slots_.close(VmId{++vm});
    (void)tick();
    (void)tick();
    ASSERT_EQ(slots_.threads_in_use(), 0U);
    ASSERT_EQ(slots_.vms_in_use(), 0U);
    if (turn == 0) reached = bpf_.slot_reached;
  }
  EXPECT_EQ(bpf_.slot_reached, reached);
  EXPECT_LE(reached, 3 * kVms + 1024);  // in use, and queued for BPF
  EXPECT_TRUE(tick().threads.empty());
  EXPECT_TRUE(std::all_of(std::begin(bpf_.memory().slot_of_pid),
                          std::end(bpf_.memory().slot_of_pid),
                          [](__u16 slot) { return slot == 0; }));
}

TEST_F(SlotLife, ReadingAllocatesNothingUnlessSomethingCameOrWent) {
  constexpr std::uint32_t kVms = 1000;
  for (std::uint32_t vm = 1; vm <= kVms; ++vm) {
    open_whole(VmId{vm}, static_cast<pid_t>(vm * 10));
    if (bpf_.queued() == 0) (void)tick();
  }
  for (int i = 0; i < 4; ++i) (void)tick();
  for (int i = 0; i < 50; ++i) {
    for (pid_t tid = 11; tid < 10'000; tid += 10) {
      if (i % 2 == 0) bpf_.switch_out(tid, After::kSleeps);
      if (i % 2 == 1) bpf_.switch_in(tid);
    }
    bpf_.pass(milliseconds{20});
    bpf_.take_clock_pair();
    const std::uint64_t before = allocations();
    (void)slots_.read(bpf_.now());
    ASSERT_EQ(allocations(), before) << "read " << i;
  }
  bpf_.be_born(15, 10);
  const std::uint64_t before = allocations();
  (void)tick();
  EXPECT_GT(allocations(), before);  // the counter counts
}

}  // namespace
}  // namespace outrider
