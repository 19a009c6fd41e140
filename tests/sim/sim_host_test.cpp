// SPDX-License-Identifier: Apache-2.0
// That the model is what it says: who is served how much, and when.
#include "tests/sim/sim_host.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <vector>

namespace outrider::sim {
namespace {

using std::chrono::milliseconds;
using Kind = SimTraceSpec::Kind;

constexpr SimTraceSpec::Kind kHog = Kind::kHog;

SimVmSpec hog(MilliCpus cap, std::int64_t weight = 100) {
  return {.cap = cap, .weight = weight, .trace = {.kind = kHog}};
}

// 50 ms of one vCPU every second.
SimVmSpec burst_of_50_ms(MilliCpus cap) {
  return {.vcpus = 2,
          .cap = cap,
          .trace = {.kind = Kind::kPeriodic, .period_ms = 1000, .on_ms = 50}};
}

SimHost host_of(std::int64_t cpus, std::vector<SimVmSpec> vms) {
  return SimHost({.cpus = cpus, .vms = std::move(vms)});
}

void run(SimHost& host, std::int64_t ms) {
  for (std::int64_t i = 0; i < ms; ++i) host.step();
}

Outcome set(SimHost& host, Knob knob, std::int64_t value, VmId vm = VmId{1},
            std::uint16_t index = 0) {
  const Action action{.vm = vm, .knob = knob, .index = index, .value = value};
  Outcome outcome;
  host.apply({&action, 1}, {&outcome, 1});
  return outcome;
}

TEST(SimHost, HoldsAHogToItsCap) {
  // 10 ms of each 100 ms; 90 ms it waits. 10 s are 100 periods.
  SimHost host = host_of(1, {hog(MilliCpus{100})});
  run(host, 10'000);
  EXPECT_EQ(host.figures(0).served_us, 1'000'000);
  EXPECT_EQ(host.figures(0).throttled_us, 9'000'000);
  EXPECT_EQ(host.figures(0).throttled_ms, 9'000);
  EXPECT_EQ(host.figures(0).stall_us, 9'000'000);
  EXPECT_EQ(host.figures(0).stall_ms, 9'000);
  EXPECT_EQ(host.figures(0).held, 100 * 10'000);
}

TEST(SimHost, LeavesAHogWithoutACapAlone) {
  SimHost host = host_of(4, {hog(kNoCap)});
  run(host, 1'000);
  EXPECT_EQ(host.figures(0).served_us, 1'000'000);
  EXPECT_EQ(host.figures(0).stall_us, 0);
  EXPECT_EQ(host.figures(0).held, 1000 * 1'000);  // 1 vCPU
}

// What rewriting one and the same cap every `every_ms` lets a hog use of a CPU.
std::int64_t used_permille_rewriting(std::int64_t every_ms) {
  SimHost host = host_of(1, {hog(MilliCpus{100})});
  while (host.now_ms() < 10'000) {
    host.step();
    if (host.now_ms() % every_ms == 0) set(host, Knob::kCpuMax, 100);
  }
  return host.figures(0).served_us / 10'000;
}

TEST(SimHost, LeaksThroughRewritesAsTheKernelDoes) {
  // 10 ms of quota last until the next write. A kernel: 94 %.
  EXPECT_EQ(used_permille_rewriting(10), 1000);
  // Refilled at 0 and 50 ms: 20 ms of 100. A kernel, with slices: 25-34 %.
  EXPECT_EQ(used_permille_rewriting(50), 200);
  EXPECT_EQ(used_permille_rewriting(100), 100);
}

TEST(SimHost, ServesABurstLaterWhenItIsThrottled) {
  // 10 ms at each of 0, 100, 200, 300, 400: done after 410, 4 x 90 throttled.
  SimHost host = host_of(2, {burst_of_50_ms(MilliCpus{100})});
  run(host, 409);
  EXPECT_EQ(host.figures(0).backlog_us, 1'000);
  run(host, 1);
  EXPECT_EQ(host.figures(0).backlog_us, 0);
  run(host, 590);
  EXPECT_EQ(host.figures(0).arrived_us, 50'000);
  EXPECT_EQ(host.figures(0).served_us, 50'000);
  EXPECT_EQ(host.figures(0).throttled_ms, 360);
  // One thread waits: the second vCPU is of no use to it.
  EXPECT_EQ(host.figures(0).stall_us, 360'000);
}

TEST(SimHost, RunsAgainAtOnceWhenTheCapIsRaised) {
  // Throttled from 10 to 30 ms, then 40 ms of work in 40 ms.
  SimHost host = host_of(2, {burst_of_50_ms(MilliCpus{100})});
  run(host, 30);
  EXPECT_EQ(set(host, Knob::kCpuMax, 1000),
            (Outcome{.kind = Outcome::Kind::kApplied, .value = 1000}));
  run(host, 40);
  EXPECT_EQ(host.figures(0).backlog_us, 0);
  EXPECT_EQ(host.figures(0).throttled_ms, 20);
  EXPECT_EQ(host.figures(0).held, 30 * 100 + 40 * 1000);
  EXPECT_EQ(host.figures(0).writes, 1);
}

TEST(SimHost, BeginsPeriodsAtTheirOffset) {
  // 10 ms from 0, the next 10 from 30, of 50.
  SimVmSpec vm = hog(MilliCpus{100});
  vm.period_offset_ms = 30;
  SimHost host = host_of(1, {vm});
  run(host, 50);
  EXPECT_EQ(host.figures(0).served_us, 20'000);
}

TEST(SimHost, SavesABurstOfQuotaForLater) {
  // Idle for 200 ms: 10 ms of quota and 5 of burst are there.
  SimVmSpec vm = burst_of_50_ms(MilliCpus{100});
  vm.trace.offset_ms = 200;
  SimHost host = host_of(1, {vm});
  EXPECT_EQ(set(host, Knob::kCpuMaxBurst, 5'000).kind, Outcome::Kind::kApplied);
  run(host, 300);
  EXPECT_EQ(host.figures(0).served_us, 15'000);
}

TEST(SimHost, SharesABusyHostByWeight) {
  // 100 : 300 of one CPU.
  SimHost host = host_of(1, {hog(kNoCap, 100), hog(kNoCap, 300)});
  run(host, 1'000);
  EXPECT_EQ(host.figures(0).served_us, 250'000);
  EXPECT_EQ(host.figures(1).served_us, 750'000);
  EXPECT_EQ(host.figures(0).stall_us, 750'000);
  EXPECT_EQ(host.figures(0).throttled_us, 0);  // no cap took it
}

TEST(SimHost, GivesToOthersWhatACapKeepsFromOne) {
  // Of 1000 ms, in each period: first 20 ms with 500 us for each, whose quota
  // of 10 ms is spent then, and 80 ms for the other alone.
  SimHost host = host_of(1, {hog(MilliCpus{100}), hog(kNoCap)});
  run(host, 1'000);
  EXPECT_EQ(host.figures(0).served_us, 100'000);
  EXPECT_EQ(host.figures(1).served_us, 900'000);
}

TEST(SimHost, LetsIdleGroupsHaveWhatIsLeft) {
  // 3 : 1024, of 1 ms 2 us to 997 or 998.
  SimHost host = host_of(1, {hog(kNoCap), hog(kNoCap)});
  set(host, Knob::kCpuIdle, 1);
  run(host, 1'000);
  EXPECT_EQ(host.figures(0).served_us, 2'000);
  EXPECT_EQ(host.figures(1).served_us, 998'000);
}

TEST(SimHost, PutsTheWeightBackWhenAGroupIsIdleNoMore) {
  // 100 : 300 again, though 900 had been set before.
  SimHost host = host_of(1, {hog(kNoCap), hog(kNoCap, 300)});
  set(host, Knob::kCpuWeight, 900);
  set(host, Knob::kCpuIdle, 1);
  set(host, Knob::kCpuIdle, 0);
  run(host, 1'000);
  EXPECT_EQ(host.figures(0).served_us, 250'000);
}

TEST(SimHost, CapsEachVcpu) {
  // A second vCPU at 300 leaves 1300 of 2000.
  SimVmSpec vm = {.vcpus = 2, .trace = {.kind = kHog, .level = 2000}};
  SimHost host = host_of(4, {vm});
  EXPECT_EQ(set(host, Knob::kVcpuMax, 300, VmId{1}, 1).value, 300);
  run(host, 100);
  EXPECT_EQ(host.figures(0).served_us, 130'000);
}

TEST(SimHost, RunsTheEmulatorBesideTheVcpus) {
  SimVmSpec vm = hog(kNoCap);
  vm.emulator_permille = 100;
  SimHost host = host_of(4, {vm});
  run(host, 100);
  EXPECT_EQ(host.figures(0).served_us, 110'000);
}

TEST(SimHost, DropsWhatHasWaitedTooLong) {
  // 100 of 1000 are served: 900 ms wait after 1 s, 1 s of work at most.
  SimHost host =
      host_of(1, {{.cap = MilliCpus{100},
                   .trace = {.kind = Kind::kReplay, .replay = {1000}}}});
  run(host, 1'000);
  EXPECT_EQ(host.figures(0).dropped_us, 0);
  EXPECT_EQ(host.figures(0).backlog_us, 900'000);
  run(host, 1'000);
  EXPECT_EQ(host.figures(0).served_us, 200'000);
  // At the end nothing is served for 90 ms: full to the brim.
  EXPECT_EQ(host.figures(0).backlog_us, 1'000'000);
  EXPECT_EQ(host.figures(0).dropped_us, 800'000);
}

TEST(SimHost, RefusesWhatTheKernelRefuses) {
  SimHost host = host_of(1, {hog(MilliCpus{100})});
  const auto error = [&host](Knob knob, std::int64_t value) {
    const Outcome outcome = set(host, knob, value);
    EXPECT_EQ(outcome.kind == Outcome::Kind::kApplied, outcome.error == 0);
    return outcome.error;
  };
  EXPECT_EQ(error(Knob::kCpuMax, 9), EINVAL);  // 0.9 ms
  EXPECT_EQ(error(Knob::kCpuMax, -2), EINVAL);
  EXPECT_EQ(error(Knob::kCpuMax, 10), 0);
  EXPECT_EQ(error(Knob::kCpuMaxBurst, 1'001), EINVAL);  // above the quota
  EXPECT_EQ(error(Knob::kCpuMaxBurst, 1'000), 0);
  EXPECT_EQ(error(Knob::kCpuMax, 20), 0);
  EXPECT_EQ(error(Knob::kCpuMaxBurst, 2'000), 0);
  EXPECT_EQ(error(Knob::kCpuMax, 10), EINVAL);  // below the burst
  EXPECT_EQ(error(Knob::kCpuMax, -1), 0);       // "max", with a burst
  EXPECT_EQ(error(Knob::kCpuWeight, 0), EINVAL);
  EXPECT_EQ(error(Knob::kCpuWeight, 10'001), EINVAL);
  EXPECT_EQ(error(Knob::kCpuIdle, 2), EINVAL);
  EXPECT_EQ(error(Knob::kCpuIdle, 1), 0);
  EXPECT_EQ(error(Knob::kCpuWeight, 100), EINVAL);  // it is idle
  EXPECT_EQ(error(Knob::kVcpuMax, 9), EINVAL);
  EXPECT_EQ(set(host, Knob::kVcpuMax, 100, VmId{1}, 1).error, ENOENT);
  EXPECT_EQ(host.figures(0).writes, 6);
}

std::vector<EdgeInput> edges_in(SimHost& host, std::int64_t ms) {
  std::vector<EdgeInput> edges;
  for (std::int64_t i = 0; i < ms; ++i) {
    for (const EdgeInput& edge : host.step()) edges.push_back(edge);
  }
  return edges;
}

EdgeInput quota_edge(std::int64_t at_ms, std::int64_t left_ms) {
  return {.at = Instant{milliseconds{1'000 + at_ms}},
          .vm = VmId{1},
          .kind = EdgeInput::Kind::kQuota,
          .value = milliseconds{left_ms}};
}

bool operator==(const EdgeInput& a, const EdgeInput& b) {
  return a.at == b.at && a.vm == b.vm && a.kind == b.kind && a.value == b.value;
}

TEST(SimHostEdge, CallsBeforeTheQuotaEnds) {
  // 50 ms of quota: 10 ms are left after 40, once in a period.
  SimHost host = host_of(1, {hog(MilliCpus{500})});
  const std::vector<EdgeInput> edges = edges_in(host, 200);
  ASSERT_EQ(edges.size(), 2U);
  EXPECT_TRUE(edges[0] == quota_edge(40, 10));
  EXPECT_TRUE(edges[1] == quota_edge(140, 10));
}

TEST(SimHostEdge, CallsEarlierForMoreVcpus) {
  // 100 ms for two vCPUs: 20 ms are left after 40.
  SimHost host = host_of(2, {{.vcpus = 2,
                              .cap = MilliCpus{1000},
                              .trace = {.kind = kHog, .level = 2000}}});
  const std::vector<EdgeInput> edges = edges_in(host, 100);
  ASSERT_EQ(edges.size(), 1U);
  EXPECT_TRUE(edges[0] == quota_edge(40, 20));
}

TEST(SimHostEdge, CallsAtHalfOfASmallQuota) {
  SimHost host = host_of(1, {hog(MilliCpus{100})});
  const std::vector<EdgeInput> edges = edges_in(host, 100);
  ASSERT_EQ(edges.size(), 1U);
  EXPECT_TRUE(edges[0] == quota_edge(5, 5));
}

TEST(SimHostEdge, CallsAgainAfterARefillButNotWithin10Ms) {
  // Refilled every 5 ms, when it is at half of its 10 ms. After the call at 5
  // the first refill that is seen 10 ms later is at 16; half is left at 20.
  SimHost host = host_of(1, {hog(MilliCpus{100})});
  std::vector<std::int64_t> called_ms;
  while (host.now_ms() < 60) {
    if (!host.step().empty()) called_ms.push_back(host.now_ms());
    if (host.now_ms() % 5 == 0) set(host, Knob::kCpuMax, 100);
  }
  EXPECT_EQ(called_ms, (std::vector<std::int64_t>{5, 20, 35, 50}));
}

TEST(SimHostEdge, IsSilentWithoutACapOrWork) {
  SimHost host = host_of(1, {hog(kNoCap), {.cap = MilliCpus{10}}});
  EXPECT_TRUE(edges_in(host, 1'000).empty());
}

}  // namespace
}  // namespace outrider::sim
