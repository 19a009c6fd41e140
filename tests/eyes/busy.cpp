// SPDX-License-Identifier: Apache-2.0
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "agent/sys/clock.h"
#include "tests/eyes/checks.h"
#include "tests/eyes/observer.h"

namespace outrider::check {
namespace {

const ThreadSample* busiest_vcpu(const Sample& sample) {
  const ThreadSample* found = nullptr;
  for (const ThreadSample& thread : sample.threads) {
    if (thread.thread_class != ThreadClass::kVcpu) continue;
    if (found == nullptr || thread.run_ns > found->run_ns) found = &thread;
  }
  return found;
}

}  // namespace

void check_busy(pid_t pid, double seconds) {
  const std::array pids = {pid};
  Observer observer(pids);
  const Sample& first = observer.read_after(std::chrono::seconds{1});
  const ThreadSample* vcpu = busiest_vcpu(first);
  if (vcpu == nullptr) give_up("the process has no vCPU thread");
  ThreadSample before = *vcpu;
  Instant taken = first.taken;
  std::vector<double> ratios;
  Instant next = monotonic_now();
  const Instant end =
      next + std::chrono::nanoseconds{static_cast<long>(seconds * 1e9)};
  while (next < end) {
    next = std::max(next + std::chrono::milliseconds{10}, monotonic_now());
    const Sample& sample = observer.read_at(next);
    const ThreadSample* now = busiest_vcpu(sample);
    if (now == nullptr || now->id != before.id) give_up("the vCPU is gone");
    const auto busy = static_cast<double>(now->run_ns + now->wait_ns -
                                          before.run_ns - before.wait_ns);
    ratios.push_back(busy /
                     static_cast<double>((sample.taken - taken).count()));
    before = *now;
    taken = sample.taken;
  }
  const auto near = std::count_if(ratios.begin(), ratios.end(), [](double r) {
    return std::abs(r - 1) <= 0.02;
  });
  std::sort(ratios.begin(), ratios.end());
  const double share =
      static_cast<double>(near) / static_cast<double>(ratios.size());
  fmt::print("  {} reads, ratio p0.5 {:.4f} p50 {:.4f} p99.5 {:.4f}\n",
             ratios.size(), ratios[ratios.size() / 200],
             ratios[ratios.size() / 2], ratios[ratios.size() * 199 / 200]);
  report("busy.reads_within_2_percent", share, ">= 0.99", share >= 0.99);
  // A sensor that steps by the kernel's tick reads 0.8 or 1.2 here.
  const auto steps = std::count_if(ratios.begin(), ratios.end(), [](double r) {
    return std::abs(r - 1) > 0.15;
  });
  report(
      "busy.reads_off_by_a_tick", static_cast<double>(steps), "<= 0.5 %",
      static_cast<double>(steps) <= 0.005 * static_cast<double>(ratios.size()));
}

}  // namespace outrider::check
