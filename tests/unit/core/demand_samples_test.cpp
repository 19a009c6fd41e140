// SPDX-License-Identifier: Apache-2.0
// Which pieces of two Samples belong together, and what counts nothing.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <limits>
#include <vector>

#include "agent/core/demand.h"

namespace outrider {
namespace {

using std::chrono::milliseconds;

constexpr std::int64_t kMs = 1'000'000;
constexpr std::uint64_t kHuge = std::numeric_limits<std::uint64_t>::max();

ThreadSample thread(std::uint32_t id, ThreadClass thread_class,
                    std::uint64_t run_ns) {
  return {.id = ThreadId{id},
          .tid = 100 + id,
          .thread_class = thread_class,
          .state = ThreadState::kSleeping,
          .run_ns = run_ns};
}

/// Adds a VM; its vCPU threads, which come first, get a VcpuSample each.
void add_vm(Sample& sample, std::uint32_t id,
            const std::vector<ThreadSample>& threads) {
  VmSample vm{.id = VmId{id},
              .first_thread = static_cast<std::uint32_t>(sample.threads.size()),
              .thread_count = static_cast<std::uint32_t>(threads.size()),
              .first_vcpu = static_cast<std::uint32_t>(sample.vcpus.size())};
  for (ThreadSample each : threads) {
    each.vm = VmId{id};
    sample.threads.push_back(each);
    if (each.thread_class != ThreadClass::kVcpu) continue;
    sample.vcpus.push_back({});
    ++vm.vcpu_count;
  }
  sample.vms.push_back(vm);
}

Sample at(int ms) {
  Sample sample;
  sample.taken = Instant{milliseconds{ms}};
  return sample;
}

/// One VM with one emulator thread.
Sample one_thread(int ms, std::uint64_t run_ns) {
  Sample sample = at(ms);
  add_vm(sample, 1, {thread(1, ThreadClass::kEmulator, run_ns)});
  return sample;
}

Demand between(const Sample& before, const Sample& after) {
  DemandSeries series;
  series.update(before);
  return series.update(after);
}

TEST(DemandSeries, GivesNothingForTheFirstSample) {
  DemandSeries series;
  const Demand& demand = series.update(one_thread(5, kMs));
  EXPECT_EQ(demand.interval, Duration::zero());
  EXPECT_TRUE(demand.vms.empty());
  EXPECT_TRUE(demand.threads.empty());
}

TEST(DemandSeries, GivesNothingForASampleThatIsNotLaterAndGoesOnFromIt) {
  DemandSeries series;
  series.update(one_thread(100, 10 * kMs));
  EXPECT_TRUE(series.update(one_thread(100, 10 * kMs)).vms.empty());
  EXPECT_TRUE(series.update(one_thread(50, 20 * kMs)).vms.empty());
  const Demand& demand = series.update(one_thread(60, 25 * kMs));
  EXPECT_EQ(demand.interval, Duration{milliseconds{10}});
  EXPECT_EQ(demand.vms.at(0).total.demand, MilliCpus{500});
}

TEST(DemandSeries, SurvivesTheLongestInterval) {
  Sample before = one_thread(0, 0);
  before.taken = Instant::min();
  Sample after = one_thread(0, 5);
  after.taken = Instant::max();
  const Demand demand = between(before, after);
  EXPECT_EQ(demand.interval, Duration::max());
  EXPECT_EQ(demand.vms.at(0).total.demand, MilliCpus{0});
}

TEST(DemandSeries, SumsByClassAndInTotal) {
  Sample before = at(0);
  Sample after = at(10);
  std::vector<ThreadSample> threads = {
      thread(1, ThreadClass::kVcpu, 0), thread(2, ThreadClass::kEmulator, 0),
      thread(3, ThreadClass::kIothread, 0), thread(4, ThreadClass::kVhost, 0)};
  add_vm(before, 1, threads);
  for (std::size_t i = 0; i < threads.size(); ++i) {
    threads[i].run_ns = (i + 1) * kMs;  // 1, 2, 3, 4 of 10 ms
  }
  add_vm(after, 1, threads);
  const Demand demand = between(before, after);
  const VmDemand& vm = demand.vms.at(0);
  for (std::size_t c = 0; c < kThreadClasses; ++c) {
    EXPECT_EQ(vm.by_class[c].demand.count(), 100 * (static_cast<int>(c) + 1));
  }
  EXPECT_EQ(vm.total.demand, MilliCpus{1000});
}

TEST(DemandSeries, RoundsEachClassOnceAndTheTotalIsTheirSum) {
  // 3 threads of 0.4 milli-CPU each: 1.2 rounds to 1, not to 3 x 0; two such
  // classes are 2 in total.
  const std::uint64_t run = 4'000;  // of 10 ms
  Sample before = at(0);
  Sample after = at(10);
  std::vector<ThreadSample> threads;
  for (std::uint32_t i = 0; i < 6; ++i) {
    threads.push_back(
        thread(i, i < 3 ? ThreadClass::kEmulator : ThreadClass::kVhost, 0));
  }
  add_vm(before, 1, threads);
  for (ThreadSample& each : threads) each.run_ns = run;
  add_vm(after, 1, threads);
  const Demand demand = between(before, after);
  const VmDemand& vm = demand.vms.at(0);
  EXPECT_EQ(vm.by_class[1].demand, MilliCpus{1});
  EXPECT_EQ(vm.total.demand, MilliCpus{2});
  EXPECT_EQ(demand.threads.at(0).cpu.demand, MilliCpus{0});
}

TEST(DemandSeries, HasNoDemandForWhatHasJustCome) {
  Sample before = at(0);
  add_vm(before, 2, {thread(5, ThreadClass::kEmulator, 0)});
  Sample after = at(10);
  add_vm(after, 1, {thread(9, ThreadClass::kEmulator, 5 * kMs)});
  add_vm(after, 2,
         {thread(4, ThreadClass::kEmulator, 7 * kMs),
          thread(5, ThreadClass::kEmulator, 1 * kMs),
          thread(8, ThreadClass::kEmulator, 7 * kMs)});
  const Demand demand = between(before, after);
  ASSERT_EQ(demand.vms.size(), 1U);
  EXPECT_EQ(demand.vms[0].id, VmId{2});
  EXPECT_EQ(demand.vms[0].total.demand, MilliCpus{100});
  EXPECT_EQ(demand.vms[0].uncounted, 2U);
  ASSERT_EQ(demand.threads.size(), 1U);
  EXPECT_EQ(demand.threads[0].id, ThreadId{5});
}

TEST(DemandSeries, LeavesOutWhatIsGone) {
  Sample before = at(0);
  for (std::uint32_t vm = 1; vm <= 5; ++vm) {
    add_vm(before, vm, {thread(vm, ThreadClass::kEmulator, 0)});
  }
  Sample after = at(10);
  for (std::uint32_t vm : {2U, 5U}) {
    add_vm(after, vm, {thread(vm, ThreadClass::kEmulator, vm * kMs)});
  }
  const Demand demand = between(before, after);
  ASSERT_EQ(demand.vms.size(), 2U);
  EXPECT_EQ(demand.vms[0].total.demand, MilliCpus{200});
  EXPECT_EQ(demand.vms[1].total.demand, MilliCpus{500});
  EXPECT_EQ(demand.vms[1].first_thread, 1U);
}

TEST(DemandSeries, CountsTheLastPieceOfAThreadThatExited) {
  Sample after = one_thread(10, 4 * kMs);
  after.threads[0].state = ThreadState::kExited;
  after.threads[0].wait_ns = after.threads[0].open_wait_ns = 2 * kMs;
  const Demand demand = between(one_thread(0, 0), after);
  EXPECT_EQ(demand.vms.at(0).total.demand, MilliCpus{400});
  EXPECT_EQ(demand.vms.at(0).total.wait, MilliCpus{200});
  EXPECT_FALSE(demand.threads.at(0).upper_bound);
}

TEST(DemandSeries, CountsNothingWhileAThreadIsUnknownNorWhenItsRunAppears) {
  Sample unknown = one_thread(0, 0);
  unknown.threads[0].state = ThreadState::kUnknown;
  // run_ns starts at what the kernel had counted before the attach.
  EXPECT_EQ(between(unknown, one_thread(10, 9 * kMs)).vms.at(0).uncounted, 1U);
  Sample later = unknown;
  later.taken = Instant{milliseconds{10}};
  EXPECT_TRUE(between(unknown, later).threads.empty());
  EXPECT_TRUE(between(one_thread(0, 0), later).threads.empty());
}

TEST(DemandSeries, TreatsAThreadFoundToBeAVcpuAsJustCome) {
  Sample before = at(0);
  add_vm(before, 1,
         {thread(1, ThreadClass::kEmulator, 0),
          thread(2, ThreadClass::kEmulator, 0)});
  Sample after = at(10);
  add_vm(after, 1,
         {thread(2, ThreadClass::kVcpu, 5 * kMs),
          thread(1, ThreadClass::kEmulator, 1 * kMs)});
  const Demand demand = between(before, after);
  EXPECT_EQ(demand.vms.at(0).total.demand, MilliCpus{100});
  EXPECT_EQ(demand.vms.at(0).uncounted, 1U);
}

TEST(DemandSeries, TreatsACounterThatWentBackAsJustCome) {
  DemandSeries series;
  series.update(one_thread(0, 900 * kMs));
  EXPECT_TRUE(series.update(one_thread(10, 3 * kMs)).threads.empty());
  EXPECT_EQ(series.update(one_thread(20, 5 * kMs)).vms.at(0).total.demand,
            MilliCpus{200});
  Sample waited = one_thread(30, 6 * kMs);
  waited.threads[0].wait_ns = 50 * kMs;
  series.update(waited);
  EXPECT_TRUE(series.update(one_thread(40, 7 * kMs)).threads.empty());
}

TEST(DemandSeries, TakesAStepBackOfTheEstimatedPartInFlightForNothing) {
  // The part in flight was reckoned 300 ns too long; the exact figure is less.
  DemandSeries series;
  series.update(one_thread(0, 8'000'300));
  const Demand& demand = series.update(one_thread(10, 8'000'000));
  ASSERT_EQ(demand.threads.size(), 1U);
  EXPECT_EQ(demand.threads[0].cpu.demand, MilliCpus{0});
  EXPECT_EQ(demand.threads[0].cpu.usage, MilliCpus{0});
}

TEST(DemandSeries, HoldsWhatCannotBeForJustCome) {
  // 60 ms run in 10 ms; 1.5 x 10 + 20 = 35 ms are the most that is believed.
  EXPECT_EQ(
      between(one_thread(0, 0), one_thread(10, 60 * kMs)).vms.at(0).uncounted,
      1U);
  EXPECT_EQ(
      between(one_thread(0, 0), one_thread(10, 35 * kMs)).vms.at(0).uncounted,
      0U);
}

TEST(DemandSeries, NeverOverflowsOnHugeFigures) {
  Sample before = at(0);
  Sample after = at(10);
  ThreadSample huge = thread(1, ThreadClass::kVcpu, kHuge - 5 * kMs);
  huge.state = ThreadState::kRunning;
  huge.wait_ns = huge.open_wait_ns = kHuge - 5 * kMs;
  huge.wakeups = std::numeric_limits<std::uint32_t>::max();
  add_vm(before, 1, {huge});
  before.vcpus[0].exits[2] = kHuge - 1;
  huge.run_ns = kHuge;
  huge.wait_ns = huge.open_wait_ns = kHuge;
  huge.wakeups = 2;  // wrapped
  add_vm(after, 1, {huge});
  after.vcpus[0].exits[2] = kHuge;
  after.vms[0].throttled_ns = kHuge;
  const Demand demand = between(before, after);
  const VmDemand& vm = demand.vms.at(0);
  EXPECT_EQ(vm.total.demand, MilliCpus{1000});
  EXPECT_EQ(vm.wakeups, 3U);
  EXPECT_EQ(vm.exits[2], 1U);
  EXPECT_GT(vm.throttled.count(), 0);

  // All that open wait proves to be delay: 584 years are taken back.
  huge.state = ThreadState::kSleeping;
  huge.open_wait_ns = 0;
  Sample asleep = at(20);
  add_vm(asleep, 1, {huge});
  EXPECT_EQ(between(after, asleep).vms.at(0).total.demand, MilliCpus{0});
  EXPECT_GT(between(after, asleep).vms.at(0).total.overcounted.count(), 0);
}

TEST(DemandSeries, DoesNotBelieveMoreOpenWaitThanWait) {
  Sample after = one_thread(10, 2 * kMs);
  after.threads[0].state = ThreadState::kWaiting;
  after.threads[0].wait_ns = 3 * kMs;
  after.threads[0].open_wait_ns = kHuge;
  const Demand demand = between(one_thread(0, 0), after);
  EXPECT_EQ(demand.vms.at(0).total.demand, MilliCpus{500});
  EXPECT_EQ(demand.vms.at(0).total.open_wait, MilliCpus{300});
}

/// A vCPU that waits `wait_ns` of 10 ms and then runs on.
Demand with_open_wait(std::uint64_t wait_ns, ThreadClass thread_class) {
  Sample before = at(0);
  add_vm(before, 1, {thread(1, thread_class, 0)});
  ThreadSample busy = thread(1, thread_class, 10 * kMs - wait_ns);
  busy.state = ThreadState::kRunning;
  busy.wait_ns = busy.open_wait_ns = wait_ns;
  Sample after = at(10);
  add_vm(after, 1, {busy});
  return between(before, after);
}

TEST(DemandSeries, MarksAnUpperBoundAboveTwoPercentOfOpenWait) {
  EXPECT_FALSE(with_open_wait(200'000, ThreadClass::kVcpu).vms[0].upper_bound);
  EXPECT_TRUE(with_open_wait(200'001, ThreadClass::kVcpu).vms[0].upper_bound);
  const Demand vhost = with_open_wait(9'000'000, ThreadClass::kVhost);
  EXPECT_TRUE(vhost.threads[0].upper_bound);
  EXPECT_FALSE(vhost.vms[0].upper_bound);  // only vCPUs mark their VM
}

TEST(DemandSeries, PairsVcpusWithTheirThreadsWhenOneIsPluggedBetween) {
  Sample before = at(0);
  Sample after = at(10);
  ThreadSample first = thread(1, ThreadClass::kVcpu, 0);
  ThreadSample plugged = thread(3, ThreadClass::kVcpu, 0);
  plugged.vcpu = 1;
  ThreadSample last = thread(2, ThreadClass::kVcpu, 0);
  last.vcpu = 2;
  add_vm(before, 1, {first, last});
  add_vm(after, 1, {first, plugged, last});
  before.vcpus[1].exits[0] = 1000;
  after.vcpus[1].exits[0] = 7;  // before the plugged one was seen
  after.vcpus[2].exits[0] = 1010;
  after.vcpus[2].halt_poll_ns = 2 * kMs;
  after.threads[2].run_ns = 5 * kMs;
  const Demand demand = between(before, after);
  EXPECT_EQ(demand.vms.at(0).exits[0], 10U);
  ASSERT_EQ(demand.threads.size(), 2U);
  EXPECT_EQ(demand.threads[1].vcpu, 2);
  EXPECT_EQ(demand.threads[1].exits[0], 10U);
  EXPECT_EQ(demand.threads[1].cpu.demand, MilliCpus{300});
}

TEST(DemandSeries, GivesTheShareOfTimeAllVcpusWereRunnable) {
  Sample before = one_thread(0, 0);
  Sample after = one_thread(100, 0);
  after.vms[0].all_runnable_ns = 25 * kMs;
  after.vms[0].throttled_ns = 150 * kMs;  // over two CPUs
  const Demand demand = between(before, after);
  EXPECT_EQ(demand.vms.at(0).all_runnable, MilliCpus{250});
  EXPECT_EQ(demand.vms.at(0).throttled, MilliCpus{1500});
}

TEST(DemandSeries, AveragesOverAGapInTheTicks) {
  const Demand demand = between(one_thread(0, 0), one_thread(5'000, 500 * kMs));
  EXPECT_EQ(demand.interval, Duration{milliseconds{5'000}});
  EXPECT_EQ(demand.vms.at(0).total.demand, MilliCpus{100});
}

}  // namespace
}  // namespace outrider
