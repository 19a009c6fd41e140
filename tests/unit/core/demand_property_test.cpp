// SPDX-License-Identifier: Apache-2.0
// What holds for all possible Samples.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <map>
#include <vector>

#include "agent/core/demand.h"
#include "tests/unit/core/random_samples.h"

namespace outrider {
namespace {

constexpr std::uint32_t kSeeds = 200;
constexpr std::int64_t kIntervals[] = {10'000'000, 20'000'000, 100'000'000,
                                       1'000'000'000, 7'654'321};

void expect_certain_part(const ClassDemand& cpu) {
  EXPECT_GE(cpu.open_wait.count(), 0);
  EXPECT_GE(cpu.demand, cpu.open_wait);
  EXPECT_GE(cpu.overcounted.count(), 0);
  EXPECT_GE(cpu.usage.count(), 0);
  EXPECT_TRUE(cpu.demand.count() == 0 || cpu.overcounted.count() == 0 ||
              cpu.usage.count() >= 0);
}

void expect_sums(const Demand& demand, const VmDemand& vm) {
  MilliCpus by_class;
  for (const ClassDemand& cpu : vm.by_class) {
    expect_certain_part(cpu);
    by_class += cpu.demand;
  }
  EXPECT_EQ(by_class, vm.total.demand);
  MilliCpus by_thread;
  std::uint64_t wakeups = 0;
  bool upper_bound = false;
  for (std::uint32_t i = 0; i < vm.thread_count; ++i) {
    const ThreadDemand& thread = demand.threads[vm.first_thread + i];
    expect_certain_part(thread.cpu);
    EXPECT_LE(thread.cpu.demand, MilliCpus{1000});
    EXPECT_LE(thread.cpu.usage + thread.cpu.wait, MilliCpus{1001});
    by_thread += thread.cpu.demand;
    wakeups += thread.wakeups;
    upper_bound |=
        thread.upper_bound && thread.thread_class == ThreadClass::kVcpu;
  }
  // Each thread and each class is off by half a milli-CPU at most.
  const auto slack = (vm.thread_count + kThreadClasses) / 2 + 1;
  EXPECT_LE(std::abs((by_thread - vm.total.demand).count()),
            static_cast<std::int64_t>(slack));
  EXPECT_EQ(wakeups, vm.wakeups);
  EXPECT_EQ(upper_bound, vm.upper_bound);
}

TEST(DemandProperty, HoldsForEveryIntervalOfRandomHosts) {
  std::size_t seen = 0;
  for (std::uint32_t seed = 0; seed < kSeeds; ++seed) {
    SCOPED_TRACE(seed);
    RandomSamples host(seed);
    DemandSeries series;
    for (int tick = 0; tick < 30; ++tick) {
      if (tick > 10) host.churn();
      const Sample sample = host.next(kIntervals[host.below(5)]);
      const Demand& demand = series.update(sample);
      for (const VmDemand& vm : demand.vms) {
        expect_sums(demand, vm);
        EXPECT_LE(vm.total.demand.count(), 1000 * vm.thread_count);
        ++seen;
      }
      ASSERT_LE(demand.threads.size(), sample.threads.size());
    }
  }
  EXPECT_GT(seen, kSeeds * 50);
}

std::int64_t wanted_ns(const ThreadSample& thread, const VcpuSample* vcpu) {
  const std::uint64_t wanted = thread.run_ns + thread.open_wait_ns -
                               (vcpu != nullptr ? vcpu->halt_poll_ns : 0);
  return static_cast<std::int64_t>(wanted);
}

std::map<ThreadId, std::int64_t> wanted_by_thread(const Sample& sample) {
  std::map<ThreadId, std::int64_t> wanted;
  for (const VmSample& vm : sample.vms) {
    for (std::uint32_t i = 0; i < vm.thread_count; ++i) {
      const ThreadSample& thread = sample.threads[vm.first_thread + i];
      if (thread.state == ThreadState::kUnknown) continue;
      wanted[thread.id] =
          wanted_ns(thread, i < vm.vcpu_count ? &sample.vcpus[vm.first_vcpu + i]
                                              : nullptr);
    }
  }
  return wanted;
}

TEST(DemandProperty, ConservesWhatEachThreadWantedOverARowOfIntervals) {
  for (std::uint32_t seed = 0; seed < kSeeds; ++seed) {
    SCOPED_TRACE(seed);
    RandomSamples host(seed);
    DemandSeries series;
    Sample sample = host.next(kIntervals[0]);
    std::map<ThreadId, std::int64_t> start = wanted_by_thread(sample);
    series.update(sample);
    std::map<ThreadId, double> sum_ns;
    constexpr int kTicks = 40;
    for (int tick = 0; tick < kTicks; ++tick) {
      sample = host.next(kIntervals[host.below(5)]);
      const Demand& demand = series.update(sample);
      for (const ThreadDemand& thread : demand.threads) {
        const MilliCpus net = thread.cpu.demand - thread.cpu.overcounted;
        sum_ns[thread.id] += static_cast<double>(net.count()) / 1000 *
                             static_cast<double>(demand.interval.count());
      }
    }
    // Half a milli-CPU of up to 1 s in each interval.
    constexpr double kSlackNs = 0.5e-3 * 1e9 * kTicks;
    const auto end = wanted_by_thread(sample);
    for (const auto& [id, wanted] : start) {
      EXPECT_NEAR(sum_ns[id], static_cast<double>(end.at(id) - wanted),
                  kSlackNs);
    }
  }
}

TEST(DemandProperty, ConservesToTheNanosecondWhereNothingIsRounded) {
  // 1 us intervals: a milli-CPU is a nanosecond.
  for (std::uint32_t seed = 0; seed < kSeeds; ++seed) {
    SCOPED_TRACE(seed);
    RandomSamples host(seed);
    DemandSeries series;
    Sample sample = host.next(1000);
    const auto start = wanted_by_thread(sample);
    series.update(sample);
    std::map<ThreadId, std::int64_t> sum_ns;
    for (int tick = 0; tick < 200; ++tick) {
      sample = host.next(1000);
      for (const ThreadDemand& thread : series.update(sample).threads) {
        sum_ns[thread.id] +=
            (thread.cpu.demand - thread.cpu.overcounted).count();
      }
    }
    const auto end = wanted_by_thread(sample);
    for (const auto& [id, wanted] : start) {
      EXPECT_EQ(sum_ns[id], end.at(id) - wanted);
    }
  }
}

}  // namespace
}  // namespace outrider
