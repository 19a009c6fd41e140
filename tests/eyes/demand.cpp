// SPDX-License-Identifier: Apache-2.0
#include "agent/core/demand.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <array>
#include <cmath>

#include "agent/sys/clock.h"
#include "agent/sys/fd.h"
#include "tests/eyes/checks.h"
#include "tests/eyes/observer.h"

namespace outrider::check {
namespace {

double cpus(MilliCpus amount) {
  return static_cast<double>(amount.count()) / 1000;
}

const ClassDemand& vcpus_of(const Demand& demand) {
  if (demand.vms.empty()) give_up("the VM has no demand");
  return demand.vms[0].by_class[static_cast<std::size_t>(ThreadClass::kVcpu)];
}

void lift_cap(const std::string& cpu_max) {
  const Fd file{open(cpu_max.c_str(), O_WRONLY | O_CLOEXEC)};
  if (!file || write(file.get(), "max", 3) != 3) give_up("write " + cpu_max);
}

}  // namespace

void check_together(pid_t pid, double seconds, double want_cpus) {
  const std::array pids = {pid};
  Observer observer(pids);
  (void)observer.read_after(std::chrono::seconds{1});
  DemandSeries series;
  (void)series.update(observer.read_after(std::chrono::milliseconds{10}));
  const Demand demand = series.update(observer.read_after(
      std::chrono::nanoseconds{static_cast<long>(seconds * 1e9)}));
  const ClassDemand& vcpus = vcpus_of(demand);
  const double got = cpus(vcpus.demand);
  const double ran_and_waited = cpus(vcpus.usage) + cpus(vcpus.wait);
  report("together.demand_cpus", got,
         fmt::format("{} +- 0.05", want_cpus),
         std::abs(got - want_cpus) <= 0.05);
  report("together.usage_cpus", cpus(vcpus.usage), "(reported)", true);
  report("together.run_and_wait_cpus", ran_and_waited, "far more than demand",
         ran_and_waited >= 2 * got);
}

void check_capped(pid_t pid, const std::string& cpu_max, double want_cpus) {
  constexpr Duration kPeriod = std::chrono::milliseconds{100};
  const std::array pids = {pid};
  Observer observer(pids);
  DemandSeries series;
  (void)series.update(observer.read_after(std::chrono::seconds{2}));
  int held = 0;
  constexpr int kReads = 30;
  for (int i = 0; i < kReads; ++i) {
    const Demand& demand = series.update(observer.read_after(kPeriod));
    if (demand.vms.empty()) give_up("the VM has no demand");
    if (demand.vms[0].upper_bound) ++held;
    if (i == kReads - 1) {
      report("capped.demand_while_held_cpus", cpus(vcpus_of(demand).demand),
             "(an upper bound)", true);
    }
  }
  const double share = static_cast<double>(held) / kReads;
  report("capped.reads_marked_upper_bound", share, ">= 0.9", share >= 0.9);
  const Instant lifted = monotonic_now();
  lift_cap(cpu_max);
  (void)series.update(observer.read_at(lifted + 3 * kPeriod));
  // Five periods from then on.
  const Demand& demand = series.update(observer.read_at(lifted + 8 * kPeriod));
  const double got = cpus(vcpus_of(demand).demand);
  report("capped.demand_after_3_periods_cpus", got,
         fmt::format("{} +- 0.02", want_cpus),
         std::abs(got - want_cpus) <= 0.02);
}

}  // namespace outrider::check
