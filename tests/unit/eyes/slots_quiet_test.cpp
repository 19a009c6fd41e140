// SPDX-License-Identifier: Apache-2.0
// Records that are written while they are read.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <type_traits>

#include "tests/unit/eyes/fake_eyes.h"

namespace outrider {
namespace {

using std::chrono::milliseconds;
using After = FakeEyes::After;

constexpr VmId kVm{1};
constexpr pid_t kThread = 1000;
constexpr pid_t kSecond = 1001;
constexpr std::uint64_t kMs = 1'000'000;

class SlotQuiet : public ::testing::Test {
 protected:
  // A vCPU with a figure in every column, 5 ms into its run.
  SlotQuiet() {
    EXPECT_TRUE(slots_.open(kVm, kThread).has_value());
    EXPECT_TRUE(slots_.adopt(kVm, kThread, ThreadClass::kEmulator));
    bpf_.wake(kThread);
    bpf_.pass(milliseconds{2});
    bpf_.switch_in(kThread, 3);
    bpf_.enter_guest(kThread, 0);
    bpf_.leave_guest(kThread, EYES_EXIT_MSR);
    bpf_.pass(milliseconds{5});
    for (int i = 0; i < 4; ++i) (void)bpf_.tick(slots_);
  }

  ThreadSample row() { return bpf_.tick(slots_).threads.at(0); }

  FakeEyes bpf_;
  Slots slots_{bpf_.eyes()};
};

TEST_F(SlotQuiet, ARecordHalfWrittenKeepsItsLastFigures) {
  const ThreadSample before = row();
  EXPECT_EQ(before.run_ns, 5 * kMs);
  bpf_.pass(milliseconds{5});
  ++bpf_.thread(kThread).seq;
  bpf_.thread(kThread).run_ns = 77;
  bpf_.thread(kThread).state = EYES_SLEEPING;
  EXPECT_EQ(row(), before);
  bpf_.thread(kThread).run_ns = 10 * kMs;
  ++bpf_.thread(kThread).seq;
  EXPECT_EQ(row().run_ns, 10 * kMs);
  EXPECT_EQ(row().state, ThreadState::kSleeping);
}

TEST_F(SlotQuiet, ARecordHalfWrittenKeepsAllItsFiguresWhenAnotherThreadComes) {
  const Sample before = bpf_.tick(slots_);
  EXPECT_EQ(before.threads.at(0).wakeups, 1U);
  ++bpf_.thread(kThread).seq;
  bpf_.be_born(kSecond, kThread);
  const Sample& after = bpf_.tick(slots_);
  ASSERT_EQ(after.threads.size(), 2U);
  EXPECT_EQ(after.threads[0], before.threads[0]);
  EXPECT_EQ(after.vcpus, before.vcpus);
}

TEST_F(SlotQuiet, ARecordNeverReadIsUnknownAndZero) {
  bpf_.be_born(kSecond, kThread);
  ++bpf_.thread(kSecond).seq;
  const ThreadSample found = bpf_.tick(slots_).threads.at(1);
  EXPECT_EQ(found.tid, static_cast<std::uint32_t>(kSecond));
  EXPECT_EQ(found.state, ThreadState::kUnknown);
  EXPECT_EQ(found.wakeups, 0U);
}

TEST_F(SlotQuiet, AClockPairHalfWrittenHoldsAllThatIsInFlight) {
  const Sample before = bpf_.tick(slots_);
  bpf_.pass(milliseconds{5});
  ++bpf_.memory().clock_pair.seq;
  const Sample& after = slots_.read(bpf_.now());
  EXPECT_EQ(after.threads, before.threads);
  EXPECT_EQ(after.vms, before.vms);
}

// Writes one thread's record as BPF does: by turns of `seq`, one word after
// the other. Turn i has i in the counters and fixed multiples in the sums.
class Writer {
 public:
  explicit Writer(eyes_thread& record) : record_(record) {}

  static constexpr std::uint64_t kWaitPerRun = 3;
  static constexpr std::uint64_t kOpenRun = 7;
  static constexpr std::uint64_t kOpenWait = 11;

  void write(std::uint32_t turn) {
    const std::uint64_t run = kOpenWait * (turn + std::uint64_t{1});
    put(record_.seq, 2 * turn + 1);
    put(record_.run_ns, run);
    put(record_.wait_ns, kWaitPerRun * run);
    put(record_.busy_run_ns, run - kOpenRun);
    put(record_.busy_wait_ns, kWaitPerRun * run - kOpenWait);
    put(record_.wakeups, turn);
    put(record_.migrations, turn);
    put(record_.seq, 2 * turn + 2);
  }

  static bool is_whole(const ThreadSample& row) {
    return row.run_ns == kOpenWait * (row.wakeups + std::uint64_t{1}) &&
           row.wait_ns == kWaitPerRun * row.run_ns &&
           row.open_run_ns == kOpenRun && row.open_wait_ns == kOpenWait &&
           row.migrations == row.wakeups;
  }

 private:
  // In order, as the kernel's processor and barrier() do it.
  template <class T>
  static void put(T& word, std::type_identity_t<T> value) {
    __atomic_store_n(&word, value, __ATOMIC_RELEASE);
  }

  eyes_thread& record_;
};

TEST_F(SlotQuiet, ARecordThatAnotherThreadHammersIsNeverReadTorn) {
  constexpr pid_t kHammered = 1002;
  EXPECT_TRUE(slots_.adopt(kVm, kHammered, ThreadClass::kIothread));
  eyes_thread& record = bpf_.thread(kHammered);
  record.state = EYES_RUNNING;
  record.since = bpf_.rq_now();  // and time stands still: nothing in flight
  Writer writer(record);
  writer.write(0);
  for (int i = 0; i < 4; ++i) (void)bpf_.tick(slots_);
  const Instant now = bpf_.now();

  std::atomic<bool> enough = false;
  std::uint32_t turn = 0;
  std::thread thread([&] {
    while (!enough) writer.write(++turn);
  });
  std::uint32_t torn = 0;
  std::uint32_t back = 0;
  std::uint32_t last = 0;
  // Time, not turns: on a busy machine both seldom have a CPU at once.
  using Clock = std::chrono::steady_clock;
  const Clock::time_point end = Clock::now() + std::chrono::seconds{1};
  while (Clock::now() < end) {
    const ThreadSample& found = slots_.read(now).threads.at(1);
    if (!Writer::is_whole(found)) ++torn;
    if (found.wakeups < last) ++back;
    last = found.wakeups;
  }
  enough = true;
  thread.join();
  EXPECT_EQ(torn, 0U);
  EXPECT_EQ(back, 0U);
  const ThreadSample& final = slots_.read(now).threads.at(1);
  EXPECT_TRUE(Writer::is_whole(final));
  EXPECT_EQ(final.wakeups, turn);
}

}  // namespace
}  // namespace outrider
