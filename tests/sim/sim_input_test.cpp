// SPDX-License-Identifier: Apache-2.0
// That what it tells of a VM is demand as the eyes would have it.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>

#include "tests/sim/sim_host.h"

namespace outrider::sim {
namespace {

using std::chrono::milliseconds;
using Kind = SimTraceSpec::Kind;

SimHost host_with(SimVmSpec vm) {
  SimConfig config{.cpus = 4, .tick_ms = 20, .vms = {std::move(vm)}};
  SimHost host(std::move(config));
  host.step();
  host.tick();  // the VM comes
  return host;
}

// The input `ms` later.
CpuInput after(SimHost& host, std::int64_t ms) {
  for (std::int64_t i = 0; i < ms; ++i) host.step();
  const SimTick& tick = host.tick();
  EXPECT_EQ(tick.input.interval, milliseconds{ms});
  EXPECT_EQ(tick.input.vms.size(), 1U);
  return tick.input.vms[0];
}

CpuInput input_of(std::int32_t vcpu) {
  return {.vm = VmId{1}, .demand = {vcpu}};
}

TEST(SimInput, HasDemandAsUsageWhereNothingLimits) {
  SimHost host = host_with({.trace = {.base = 300}});
  CpuInput expected = input_of(300);
  expected.usage = 300;
  EXPECT_EQ(after(host, 20), expected);
}

TEST(SimInput, TellsWhoCameOnceAndFirst) {
  SimHost host(
      {.vms = {{.name = "a", .uuid = "u", .vcpus = 3, .cap = MilliCpus{700}}}});
  for (int i = 0; i < 20; ++i) host.step();
  EXPECT_TRUE(host.tick_due());
  const SimTick& tick = host.tick();
  EXPECT_FALSE(host.tick_due());
  EXPECT_EQ(tick.came,
            (std::vector<VmFacts>{{.id = VmId{1},
                                   .name = "a",
                                   .uuid = "u",
                                   .vcpus = 3,
                                   .baseline_cap = MilliCpus{700}}}));
  EXPECT_TRUE(tick.input.vms.empty());
  EXPECT_EQ(tick.input.now, Instant{milliseconds{1'020}});
  host.step();
  host.tick();
  EXPECT_TRUE(tick.came.empty());
  EXPECT_EQ(tick.input.vms.size(), 1U);
}

TEST(SimInput, CountsTheWaitOfAnOpenBusyPeriodAsDemand) {
  // Of 20 ms from 1 ms on it ran 9 (10 of quota) and waited 11: 450 and 550.
  SimHost host =
      host_with({.cap = MilliCpus{100}, .trace = {.kind = Kind::kHog}});
  CpuInput expected = input_of(1000);
  expected.usage = 450;
  expected.open_wait = expected.wait = expected.throttled = 550;
  expected.upper_bound = true;
  EXPECT_EQ(after(host, 20), expected);
  // Then it waits alone.
  expected.usage = 0;
  expected.open_wait = expected.wait = expected.throttled = 1000;
  EXPECT_EQ(after(host, 20), expected);
}

TEST(SimInput, TakesBackWaitThatWasOnlyDelay) {
  // 15 ms of work from 1 ms on; quota for 10, so it waits from 11 to 100.
  SimHost host = host_with({.cap = MilliCpus{100},
                            .trace = {.kind = Kind::kPeriodic,
                                      .period_ms = 5'000,
                                      .on_ms = 15,
                                      .offset_ms = 1}});
  // 1..100: ran 10, waited 89, of 99 ms.
  CpuInput open = after(host, 99);
  EXPECT_EQ(open.demand[0], 1000);
  EXPECT_EQ(open.open_wait, 899);
  EXPECT_TRUE(open.upper_bound);
  // Then it runs 5 ms and is done: of the 89, demanded for nothing, 5 less are
  // to be taken back. 84 ms in 20 are 4200.
  CpuInput closed = input_of(0);
  closed.usage = 250;
  closed.overcounted = 4200;
  EXPECT_EQ(after(host, 20), closed);
}

TEST(SimInput, CountsNoWaitAsDemandWhereTheBusyPeriodClosed) {
  // Each has 5 ms of work on the one CPU and gets 0.5 in each ms: both are done
  // in 10. In each but the last, when 0.5 are left, it could have had 1:
  // 9 x 0.5 of 20 ms it waited.
  const SimVmSpec vm = {.trace = {.kind = Kind::kPeriodic,
                                  .period_ms = 1'000,
                                  .on_ms = 5,
                                  .offset_ms = 1}};
  SimHost host({.cpus = 1, .vms = {vm, vm}});
  host.step();
  host.tick();
  for (int i = 0; i < 20; ++i) host.step();
  const SimTick& tick = host.tick();
  ASSERT_EQ(tick.input.vms.size(), 2U);
  for (const CpuInput& input : tick.input.vms) {
    EXPECT_EQ(input.demand[0], 250);
    EXPECT_EQ(input.usage, 250);
    EXPECT_EQ(input.open_wait, 0);
    EXPECT_EQ(input.overcounted, 0);
    EXPECT_EQ(input.throttled, 0);
    EXPECT_FALSE(input.upper_bound);
    EXPECT_EQ(input.wait, 225);
  }
}

TEST(SimInput, TellsTheEmulatorApart) {
  SimHost host =
      host_with({.emulator_permille = 100, .trace = {.kind = Kind::kHog}});
  const CpuInput input = after(host, 20);
  EXPECT_EQ(input.demand, (std::array<std::int32_t, 4>{1000, 100, 0, 0}));
  EXPECT_EQ(input.usage, 1100);
}

// Demand less what was overcounted sums to what ran, once all is done.
TEST(SimInputProperty, CountsNothingTwice) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    SimRandom random(seed);
    // 200 ms of every 1000, at no less than a quarter of its speed.
    SimHost host = host_with({.cap = MilliCpus{250 + random.below(750)},
                              .trace = {.kind = Kind::kJittered,
                                        .period_ms = 1'000,
                                        .on_ms = 200,
                                        .offset_ms = 1}});
    std::int64_t counted_us = 0;
    std::int64_t rounding_us = 0;  // half a milli-CPU of each of two figures
    while (host.now_ms() < 2'000 || host.figures(0).backlog_us > 0) {
      const std::int64_t ms = 1 + random.below(50);
      const CpuInput input = after(host, ms);
      counted_us += (input.demand[0] - input.overcounted) * ms;
      rounding_us += ms;
    }
    ASSERT_NEAR(static_cast<double>(counted_us),
                static_cast<double>(host.figures(0).served_us),
                static_cast<double>(rounding_us))
        << "seed " << seed;
  }
}

}  // namespace
}  // namespace outrider::sim
