// SPDX-License-Identifier: Apache-2.0
// Who gives a thread its slot: user space, BPF, or both at once.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "tests/unit/eyes/fake_eyes.h"

namespace outrider {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;

constexpr VmId kVm{1};
constexpr pid_t kLeader = 1000;
constexpr pid_t kWorker = 1001;

class SlotClaims : public ::testing::Test {
 protected:
  SlotClaims() {
    EXPECT_TRUE(slots_.open(kVm, kLeader).has_value());
    EXPECT_TRUE(slots_.adopt(kVm, kLeader, ThreadClass::kEmulator));
  }

  std::vector<std::uint32_t> tids() {
    std::vector<std::uint32_t> found;
    for (const ThreadSample& row : slots_.sample().threads) {
      found.push_back(row.tid);
    }
    return found;
  }
  std::uint32_t alive() {
    return bpf_.memory().vms[slots_.slot_of_vm(kVm)].threads;
  }
  void tick(int times) {
    for (int i = 0; i < times; ++i) {
      bpf_.pass(milliseconds{20});
      (void)bpf_.tick(slots_);
    }
  }

  FakeEyes bpf_;
  Slots slots_{bpf_.eyes()};
};

TEST_F(SlotClaims, AThreadThatBothSidesAdoptAppearsOnce) {
  bpf_.be_born(kWorker, kLeader);
  EXPECT_TRUE(slots_.adopt(kVm, kWorker, ThreadClass::kEmulator));
  constexpr pid_t kKnown = 1002;
  EXPECT_TRUE(slots_.adopt(kVm, kKnown, ThreadClass::kEmulator));
  bpf_.be_born(kKnown, kLeader);
  tick(1);
  EXPECT_THAT(tids(), ElementsAre(kLeader, kWorker, kKnown));
  EXPECT_EQ(slots_.threads_in_use(), 3U);
  EXPECT_EQ(alive(), 3U);
}

TEST_F(SlotClaims, AThreadThatBpfAdoptedIsInTheNextSample) {
  tick(3);
  bpf_.be_born(kWorker, kLeader);
  tick(1);
  EXPECT_THAT(tids(), ElementsAre(kLeader, kWorker));
}

// User space found no entry, then BPF made one, then user space wants to.
TEST_F(SlotClaims, AClaimThatComesAfterThatOfBpfLeavesNoSlotBehind) {
  bpf_.before_reach = [this] { bpf_.be_born(kWorker, kLeader); };
  EXPECT_TRUE(slots_.adopt(kVm, kWorker, ThreadClass::kEmulator));
  ASSERT_FALSE(bpf_.before_reach);  // it was called
  EXPECT_EQ(slots_.threads_in_use(), 2U);
  EXPECT_EQ(alive(), 2U);
  tick(1);
  EXPECT_THAT(tids(), ElementsAre(kLeader, kWorker));
}

// BPF found no entry, then user space made one, then BPF writes its own: it
// cannot compare. Which thread a slot is of shows at the second rebuild, and
// what a read shows stays until the next.
TEST_F(SlotClaims, AClaimThatBpfWritesOverIsReleasedAfterTwoRebuilds) {
  const std::uint32_t slot = bpf_.fill_slot(kWorker, slots_.slot_of_vm(kVm));
  EXPECT_TRUE(slots_.adopt(kVm, kWorker, ThreadClass::kEmulator));
  bpf_.publish(kWorker, slot);
  bpf_.wake(kWorker);
  EXPECT_EQ(slots_.threads_in_use(), 3U);
  tick(2);
  EXPECT_THAT(tids(), ElementsAre(kLeader, kWorker));
  EXPECT_EQ(slots_.sample().threads[1].state, ThreadState::kWaiting);
  tick(1);
  EXPECT_EQ(slots_.threads_in_use(), 2U);
  EXPECT_EQ(bpf_.slot_of(kWorker), slot);
  EXPECT_EQ(alive(), 2U);  // or BPF would never tell of the VM's end
}

TEST_F(SlotClaims, AClaimThatBpfWritesOverBetweenTwoReadsIsReleasedAsWell) {
  const std::uint32_t slot = bpf_.fill_slot(kWorker, slots_.slot_of_vm(kVm));
  EXPECT_TRUE(slots_.adopt(kVm, kWorker, ThreadClass::kEmulator));
  tick(1);
  bpf_.publish(kWorker, slot);
  tick(4);
  EXPECT_THAT(tids(), ElementsAre(kLeader, kWorker));
  EXPECT_EQ(slots_.threads_in_use(), 2U);
  EXPECT_EQ(alive(), 2U);
}

TEST_F(SlotClaims, AClaimWrittenOverIsReleasedThoughTheThreadHasEnded) {
  const std::uint32_t slot = bpf_.fill_slot(kWorker, slots_.slot_of_vm(kVm));
  EXPECT_TRUE(slots_.adopt(kVm, kWorker, ThreadClass::kEmulator));
  bpf_.publish(kWorker, slot);
  bpf_.end(kWorker);
  bpf_.pass(seconds{2});
  tick(4);
  EXPECT_THAT(tids(), ElementsAre(kLeader));
  EXPECT_EQ(slots_.threads_in_use(), 1U);
  EXPECT_EQ(alive(), 1U);
}

// BPF takes the index entry back first and writes the final figures then.
TEST_F(SlotClaims, AThreadSeenInTheMidstOfItsExitKeepsItsSlot) {
  EXPECT_TRUE(slots_.adopt(kVm, kWorker, ThreadClass::kEmulator));
  bpf_.switch_in(kWorker);
  const std::uint32_t slot = bpf_.unlink(kWorker);
  tick(1);
  bpf_.finish(slot);
  tick(4);
  EXPECT_THAT(tids(), ElementsAre(kLeader, kWorker));
  EXPECT_EQ(slots_.sample().threads[1].state, ThreadState::kExited);
  EXPECT_EQ(slots_.sample().threads[1].run_ns, 20'000'000U);  // one tick
  EXPECT_EQ(alive(), 1U);
}

TEST_F(SlotClaims, BirthAndExitSeenHalfWayAreNoTwoSignsOfALostClaim) {
  const std::uint32_t slot = bpf_.fill_slot(kWorker, slots_.slot_of_vm(kVm));
  tick(1);
  bpf_.publish(kWorker, slot);
  bpf_.switch_in(kWorker);
  tick(2);
  ASSERT_EQ(bpf_.unlink(kWorker), slot);
  ++bpf_.memory().generation;  // another thread went
  tick(2);
  bpf_.finish(slot);
  tick(1);
  EXPECT_THAT(tids(), ElementsAre(kLeader, kWorker));
  EXPECT_EQ(slots_.sample().threads[1].state, ThreadState::kExited);
}

TEST_F(SlotClaims, ASlotThatBpfIsStillFillingIsNoThreadYet) {
  const std::uint32_t slot = bpf_.fill_slot(kWorker, slots_.slot_of_vm(kVm));
  const std::uint32_t serial =
      std::exchange(bpf_.memory().vcpus[slot].serial, 0U);
  tick(1);
  EXPECT_THAT(tids(), ElementsAre(kLeader));
  bpf_.memory().vcpus[slot].serial = serial;
  bpf_.publish(kWorker, slot);
  tick(1);
  EXPECT_THAT(tids(), ElementsAre(kLeader, kWorker));
  EXPECT_EQ(slots_.threads_in_use(), 2U);
}

// Events of a VM are still in the ring when it has been closed.
TEST_F(SlotClaims, AThreadOfAVmThatIsGoneIsNotAdopted) {
  slots_.close(kVm);
  EXPECT_FALSE(slots_.adopt(kVm, kWorker, ThreadClass::kVhost));
  EXPECT_FALSE(slots_.adopt(VmId{}, kWorker, ThreadClass::kVhost));
  EXPECT_EQ(bpf_.slot_of(kWorker), 0U);
  tick(2);
  EXPECT_EQ(slots_.threads_in_use(), 0U);
}

TEST_F(SlotClaims, AReusedTidIsAnotherThread) {
  bpf_.be_born(kWorker, kLeader);
  bpf_.switch_in(kWorker);
  bpf_.pass(milliseconds{5});
  bpf_.end(kWorker);
  bpf_.be_born(kWorker, kLeader);
  tick(1);
  ASSERT_THAT(tids(), ElementsAre(kLeader, kWorker, kWorker));
  const ThreadSample& old = slots_.sample().threads[1];
  const ThreadSample& young = slots_.sample().threads[2];
  EXPECT_LT(old.id, young.id);
  EXPECT_EQ(old.run_ns, 5'000'000U);
  EXPECT_EQ(young.run_ns, 0U);
  bpf_.pass(seconds{2});
  tick(2);  // the old one is let go, and does not take the entry along
  ASSERT_THAT(tids(), ElementsAre(kLeader, kWorker));
  EXPECT_NE(bpf_.slot_of(kWorker), 0U);
}

TEST_F(SlotClaims, AThreadThatKvmSaysIsAVcpuStaysOne) {
  bpf_.enter_guest(kLeader, 0);
  slots_.set_class(kLeader, ThreadClass::kIothread);
  tick(1);
  EXPECT_EQ(slots_.sample().threads[0].thread_class, ThreadClass::kVcpu);
}

TEST_F(SlotClaims, ANameAloneMakesNoVcpu) {
  EXPECT_TRUE(slots_.adopt(kVm, kWorker, ThreadClass::kVcpu));
  slots_.set_class(kLeader, ThreadClass::kVcpu);
  tick(1);
  for (const ThreadSample& row : slots_.sample().threads) {
    EXPECT_EQ(row.thread_class, ThreadClass::kEmulator);
  }
  EXPECT_TRUE(slots_.sample().vcpus.empty());
}

TEST_F(SlotClaims, AClassGivenByNameIsInTheNextSample) {
  bpf_.be_born(kWorker, kLeader);
  tick(3);
  slots_.set_class(kWorker, ThreadClass::kIothread);
  slots_.set_class(kWorker + 1, ThreadClass::kIothread);  // none of ours
  tick(1);
  EXPECT_EQ(slots_.sample().threads[1].thread_class, ThreadClass::kIothread);
}

TEST_F(SlotClaims, TheAgentsOwnThreadIsNobodys) {
  constexpr pid_t kAgent = 500;
  slots_.adopt_agent(kAgent);
  slots_.set_class(kAgent, ThreadClass::kVhost);
  tick(4);
  EXPECT_THAT(tids(), ElementsAre(kLeader));
  EXPECT_EQ(slots_.threads_in_use(), 1U);
  EXPECT_EQ(bpf_.thread(kAgent).class_, EYES_AGENT);
}

}  // namespace
}  // namespace outrider
