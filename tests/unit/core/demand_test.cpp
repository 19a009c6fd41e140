// SPDX-License-Identifier: Apache-2.0
// Demand as the scheduler's behaviour defines it: the scenarios that run + wait
// and usage get wrong.
#include "agent/core/demand.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <vector>

#include "tests/unit/core/sim_threads.h"

namespace outrider {
namespace {

using std::chrono::milliseconds;

constexpr std::int64_t kMs = 1'000'000;
constexpr VmId kVm{7};

/// What a row of intervals says, in milli-CPUs averaged over the row.
struct Mean {
  double demand = 0;  // less what was overcounted
  double usage = 0;
  double wait = 0;
  double halt_poll = 0;
};

void expect_near_mean(double got, double want, double tolerance) {
  EXPECT_GE(got, want - tolerance);
  EXPECT_LE(got, want + tolerance);
}

/// Runs the host on for `count` intervals and averages what `series` says.
Mean mean_over(SimThreads& host, DemandSeries& series, milliseconds interval,
               int count) {
  Mean sum;
  for (int i = 0; i < count; ++i) {
    host.run_for(interval);
    const Demand& demand = series.update(host.sample());
    EXPECT_EQ(demand.vms.size(), 1U);
    const ClassDemand& total = demand.vms.at(0).total;
    sum.demand +=
        static_cast<double>((total.demand - total.overcounted).count());
    sum.usage += static_cast<double>(total.usage.count());
    sum.wait += static_cast<double>(total.wait.count());
    sum.halt_poll += static_cast<double>(total.halt_poll.count());
  }
  return {sum.demand / count, sum.usage / count, sum.wait / count,
          sum.halt_poll / count};
}

class DemandAtInterval : public testing::TestWithParam<int> {
 protected:
  milliseconds interval() const { return milliseconds{GetParam()}; }
  int per_second() const { return 1000 / GetParam(); }
};
INSTANTIATE_TEST_SUITE_P(Ms, DemandAtInterval,
                         testing::Values(10, 20, 100, 1000));

TEST_P(DemandAtInterval, FiveThatWakeTogetherOnOneCpuWantWhatTheyRan) {
  // 5 x 10 ms a 100 ms = 0.50. In turns of 3 ms the first is done after 46 ms,
  // the last after 50 ms: run + wait is about 5 x 0.48 = 2.4.
  SimThreads host(1);
  host.add_vm(kVm);
  for (int i = 0; i < 5; ++i) host.add_vcpu({.work = 10 * kMs});
  DemandSeries series;
  series.update(host.sample());

  const Mean mean = mean_over(host, series, interval(), 5 * per_second());

  expect_near_mean(mean.demand, 500, 5);
  expect_near_mean(mean.usage, 500, 5);
  EXPECT_GE(mean.usage + mean.wait, 1500);
}

TEST(Demand, OfFiveThatWakeTogetherIsRightInEachWholeSecond) {
  SimThreads host(1);
  host.add_vm(kVm);
  for (int i = 0; i < 5; ++i) host.add_vcpu({.work = 10 * kMs});
  host.run_for(milliseconds{37});  // cuts a burst in two
  DemandSeries series;
  series.update(host.sample());
  for (int second = 0; second < 5; ++second) {
    SCOPED_TRACE(second);
    host.run_for(milliseconds{1000});
    const VmDemand& vm = series.update(host.sample()).vms.at(0);
    EXPECT_NEAR(static_cast<double>(vm.total.demand.count()), 500, 50);
  }
}

TEST_P(DemandAtInterval, UnderACapIsAnUpperBoundAndKnownAfterRelease) {
  // 10 ms a 100 ms, allowed 5: it never sleeps, so nobody can tell what it
  // wants. It ran 0.05 and could want all the time there is.
  SimThreads host(1);
  host.add_vm(kVm, 5 * kMs);
  host.add_vcpu({.work = 10 * kMs});
  DemandSeries series;
  host.run_for(milliseconds{100});
  series.update(host.sample());
  int held = 0;
  int marked = 0;
  for (int i = 0; i < per_second(); ++i, ++held) {
    host.run_for(interval());
    const VmDemand& vm = series.update(host.sample()).vms.at(0);
    marked += vm.upper_bound ? 1 : 0;
    EXPECT_GE(vm.total.demand.count(), 990);
    EXPECT_LE(vm.total.demand.count(), 1000);
  }
  // At 10 and 20 ms only an interval in which it runs to the end of its
  // quota's 5 ms can be mostly certain; all have waited over 2 %.
  EXPECT_EQ(marked, held);

  host.set_quota(kVm, SimThreads::kNoCap);
  // 11 periods held leave 55 ms of work undone; that and 2 x 10 ms are done
  // within 3 periods.
  host.run_for(milliseconds{300});
  series.update(host.sample());

  const Mean mean = mean_over(host, series, interval(), per_second());
  expect_near_mean(mean.demand, 100, 20);
  EXPECT_FALSE(series.update(host.sample()).vms.size());  // no time has passed
  host.run_for(interval());
  EXPECT_FALSE(series.update(host.sample()).vms.at(0).upper_bound);
}

TEST(Demand, OfAHogUnderACapIsAnUpperBoundOfOneCpuWhileUsageIsTheCap) {
  SimThreads host(1);
  host.add_vm(kVm, 20 * kMs);
  host.add_vcpu({.period = 1000 * kMs, .work = 1000 * kMs});
  DemandSeries series;
  series.update(host.sample());
  host.run_for(milliseconds{1000});
  const VmDemand& vm = series.update(host.sample()).vms.at(0);
  EXPECT_EQ(vm.total.demand, MilliCpus{1000});
  EXPECT_EQ(vm.total.usage, MilliCpus{200});
  EXPECT_EQ(vm.total.open_wait, MilliCpus{800});
  EXPECT_EQ(vm.throttled, MilliCpus{800});
  EXPECT_TRUE(vm.upper_bound);
}

Mean of_ticker(std::int64_t halt_poll, milliseconds interval) {
  SimThreads host(1);
  host.add_vm(kVm);
  host.add_vcpu({.period = 2 * kMs, .work = kMs / 5, .halt_poll = halt_poll});
  DemandSeries series;
  series.update(host.sample());
  return mean_over(host, series, interval,
                   static_cast<int>(2000 / interval.count()));
}

TEST_P(DemandAtInterval, OfATickerIsTheSameWithAndWithoutHaltPolling) {
  // 0.2 ms every 2 ms: 0.10. Polling 0.5 ms each time: usage 0.35.
  const Mean plain = of_ticker(0, interval());
  const Mean polling = of_ticker(kMs / 2, interval());
  EXPECT_GE(polling.usage, 2 * plain.usage);
  EXPECT_NEAR(polling.demand, plain.demand, 0.2 * plain.demand);
  EXPECT_NEAR(plain.demand, 100, 1);
  EXPECT_GT(polling.halt_poll, 100);
}

TEST(Demand, OfABusyPeriodThatEndedCountsOnlyWhatItRan) {
  // Woke, waited 4 ms behind another VM's slice, ran 2 ms, sleeps.
  Sample before;
  before.taken = Instant{milliseconds{0}};
  before.vms.push_back({.id = kVm, .thread_count = 1});
  before.threads.push_back(
      {.vm = kVm, .state = ThreadState::kSleeping, .run_ns = 50, .wait_ns = 9});
  Sample after = before;
  after.taken = Instant{milliseconds{10}};
  after.threads[0].run_ns += 2 * kMs;
  after.threads[0].wait_ns += 4 * kMs;
  DemandSeries series;
  series.update(before);
  const VmDemand vm = series.update(after).vms.at(0);
  EXPECT_EQ(vm.total.demand, MilliCpus{200});
  EXPECT_EQ(vm.total.open_wait, MilliCpus{0});
  EXPECT_EQ(vm.total.wait, MilliCpus{400});
  EXPECT_EQ(vm.total.runnable, MilliCpus{600});
}

TEST(Demand, TakesBackTheWaitOfABusyPeriodThatProvedToBeDelay) {
  Sample first;
  first.taken = Instant{milliseconds{0}};
  first.vms.push_back({.id = kVm, .thread_count = 1});
  first.threads.push_back({.vm = kVm, .state = ThreadState::kSleeping});
  Sample held = first;  // waits 8 of 10 ms
  held.taken = Instant{milliseconds{10}};
  held.threads[0].state = ThreadState::kWaiting;
  held.threads[0].wait_ns = held.threads[0].open_wait_ns = 8 * kMs;
  Sample done = held;  // runs 3 ms, sleeps
  done.taken = Instant{milliseconds{20}};
  done.threads[0].state = ThreadState::kSleeping;
  done.threads[0].open_wait_ns = 0;
  done.threads[0].run_ns = 3 * kMs;
  DemandSeries series;
  series.update(first);
  const ClassDemand bound = series.update(held).vms.at(0).total;
  EXPECT_EQ(bound.demand, MilliCpus{800});
  EXPECT_EQ(bound.open_wait, MilliCpus{800});
  // 3 ms ran, 8 ms were credited for it: 5 ms too much.
  const ClassDemand settled = series.update(done).vms.at(0).total;
  EXPECT_EQ(settled.demand, MilliCpus{0});
  EXPECT_EQ(settled.overcounted, MilliCpus{500});
  EXPECT_EQ(settled.usage, MilliCpus{300});
}

}  // namespace
}  // namespace outrider
