// SPDX-License-Identifier: Apache-2.0
// The invariant of Sample: what is beside what.
#include <gtest/gtest.h>

#include <algorithm>
#include <tuple>
#include <vector>

#include "tests/unit/eyes/fake_eyes.h"

namespace outrider {
namespace {

using std::chrono::milliseconds;

class SlotOrder : public ::testing::Test {
 protected:
  // QEMU's thread, an iothread, and vCPUs that come last and highest first.
  void open(std::uint32_t vm, std::uint32_t vcpus) {
    const auto tgid = static_cast<pid_t>(vm * 100);
    ASSERT_TRUE(slots_.open(VmId{vm}, tgid).has_value());
    ASSERT_TRUE(slots_.adopt(VmId{vm}, tgid, ThreadClass::kEmulator));
    ASSERT_TRUE(slots_.adopt(VmId{vm}, tgid + 1, ThreadClass::kIothread));
    for (std::uint32_t i = 0; i < vcpus; ++i) {
      const auto tid = static_cast<pid_t>(vm * 100 + 10 + i);
      bpf_.be_born(tid, tgid);
      bpf_.switch_in(tid);
      bpf_.enter_guest(tid, vcpus - 1 - i);
      // What tells it from all others.
      bpf_.vcpu(tid).guest_ns = static_cast<__u64>(tid);
    }
    ASSERT_TRUE(slots_.adopt(VmId{vm}, tgid + 2, ThreadClass::kEmulator));
  }
  const Sample& tick() {
    bpf_.pass(milliseconds{20});
    return bpf_.tick(slots_);
  }

  FakeEyes bpf_;
  Slots slots_{bpf_.eyes()};
};

void expect_sorted(const Sample& sample) {
  EXPECT_TRUE(std::is_sorted(
      sample.vms.begin(), sample.vms.end(),
      [](const VmSample& a, const VmSample& b) { return a.id < b.id; }));
  const auto key = [](const ThreadSample& row) {
    return std::tuple(row.vm, row.thread_class, row.vcpu, row.id);
  };
  EXPECT_TRUE(std::is_sorted(
      sample.threads.begin(), sample.threads.end(),
      [&](const auto& a, const auto& b) { return key(a) < key(b); }));
}

// Each VM's rows follow those of the VM before it, and no row is left over.
void expect_neighbours(const Sample& sample) {
  std::uint32_t thread = 0;
  std::uint32_t vcpu = 0;
  for (const VmSample& vm : sample.vms) {
    EXPECT_EQ(vm.first_thread, thread);
    EXPECT_EQ(vm.first_vcpu, vcpu);
    for (std::uint32_t i = 0; i < vm.thread_count; ++i, ++thread) {
      const ThreadSample& row = sample.threads.at(thread);
      EXPECT_EQ(row.vm, vm.id);
      EXPECT_EQ(row.thread_class == ThreadClass::kVcpu, i < vm.vcpu_count);
      if (i >= vm.vcpu_count) continue;
      EXPECT_EQ(row.vcpu, i);
      EXPECT_EQ(sample.vcpus.at(vcpu++).guest_ns, row.tid);
    }
  }
  EXPECT_EQ(thread, sample.threads.size());
  EXPECT_EQ(vcpu, sample.vcpus.size());
}

TEST_F(SlotOrder, VmsAreByIdAndThreadsByClassVcpuAndId) {
  for (const std::uint32_t vm : {7U, 3U, 9U, 1U}) open(vm, vm % 4);
  const Sample& sample = tick();
  EXPECT_EQ(sample.vms.size(), 4U);
  EXPECT_EQ(sample.threads.size(), 4 * 3 + 3 + 3 + 1 + 1U);
  expect_sorted(sample);
  expect_neighbours(sample);
}

TEST_F(SlotOrder, ItHoldsAsVmsAndThreadsComeAndGo) {
  for (const std::uint32_t vm : {5U, 2U, 8U}) open(vm, 3);
  (void)tick();
  slots_.close(VmId{5});
  bpf_.end(211);  // a vCPU in the middle: its last figures stay beside it
  expect_sorted(tick());
  expect_neighbours(slots_.sample());
  open(6, 2);
  open(4, 0);
  slots_.set_class(600, ThreadClass::kVhost);
  expect_sorted(tick());
  expect_neighbours(slots_.sample());
  EXPECT_EQ(slots_.sample().vms.size(), 4U);
}

TEST_F(SlotOrder, AVmWithoutThreadsHasARow) {
  ASSERT_TRUE(slots_.open(VmId{3}, 300).has_value());
  open(4, 1);
  ASSERT_EQ(tick().vms.size(), 2U);
  EXPECT_EQ(slots_.sample().vms[0].thread_count, 0U);
  expect_neighbours(slots_.sample());
}

// What others write into a VM's row, and its own sums.
TEST_F(SlotOrder, AVmsFiguresStayWhenItsRowMoves) {
  open(5, 1);
  (void)tick();
  slots_.sample().vms[0].throttled_ns = 17;
  slots_.sample().vms[0].throttled_count = 3;
  const VmSample before = tick().vms[0];
  EXPECT_GT(before.all_runnable_ns, 0U);
  open(2, 1);
  const VmSample& after = tick().vms.at(1);
  EXPECT_EQ(after.throttled_ns, 17U);
  EXPECT_EQ(after.throttled_count, 3U);
  EXPECT_EQ(after.all_runnable_ns, before.all_runnable_ns + 20'000'000);
}

TEST_F(SlotOrder, TheSampleSaysWhenItWasTaken) {
  const Instant taken = tick().taken;
  EXPECT_EQ(taken, bpf_.now());
}

}  // namespace
}  // namespace outrider
