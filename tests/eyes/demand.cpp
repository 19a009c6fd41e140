// SPDX-License-Identifier: Apache-2.0
#include "agent/core/demand.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
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
  report("together.demand_cpus", got, fmt::format("{} +- 0.05", want_cpus),
         std::abs(got - want_cpus) <= 0.05);
  report("together.usage_cpus", cpus(vcpus.usage), "(reported)", true);
  report("together.run_and_wait_cpus", ran_and_waited, "far more than demand",
         ran_and_waited >= 2 * got);
}

// A file of /proc/PID/task/TID of the VM's first vCPU: the kernel's own word.
std::string vcpu_text(const ProcRoot& proc, pid_t pid, const Sample& sample,
                      const char* file) {
  for (const ThreadSample& thread : sample.threads) {
    if (thread.thread_class != ThreadClass::kVcpu) continue;
    auto text = read_text_at(
        proc.fd(), fmt::format("{}/task/{}/{}", pid, thread.tid, file), 8192);
    if (text) return *text;
  }
  give_up("the VM has no vCPU");
}

// Whether a busy period is open, and whether it is still the same.
TaskStatus vcpu_status(const ProcRoot& proc, pid_t pid, const Sample& sample) {
  const auto status = parse_status(vcpu_text(proc, pid, sample, "status"));
  return status ? *status : TaskStatus{};
}

Duration vcpu_ran(const ProcRoot& proc, pid_t pid, const Sample& sample) {
  const auto stat = parse_schedstat(vcpu_text(proc, pid, sample, "schedstat"));
  if (!stat) give_up("the vCPU has no schedstat");
  return std::chrono::nanoseconds{stat->run_ns};
}

// Nothing holds it any more, so its demand is what it runs.
void check_released(const ProcRoot& proc, pid_t pid, Observer& observer,
                    DemandSeries& series, double want_cpus) {
  constexpr Duration kPeriod = std::chrono::milliseconds{100};
  const Instant lifted = monotonic_now();
  const Sample& first = observer.read_at(lifted + 3 * kPeriod);
  (void)series.update(first);
  const Duration ran_before = vcpu_ran(proc, pid, first);
  // Ten periods from then on.
  const Sample& last = observer.read_at(lifted + 13 * kPeriod);
  const double got = cpus(vcpus_of(series.update(last)).demand);
  const Duration ran = vcpu_ran(proc, pid, last) - ran_before;
  const double ran_cpus = static_cast<double>(ran.count()) /
                          (10.0 * static_cast<double>(kPeriod.count()));
  if (std::abs(ran_cpus - want_cpus) > 0.02) {
    blame_guest(fmt::format("runs {:.3f} CPUs, not {}", ran_cpus, want_cpus));
  }
  report("capped.demand_after_3_periods_cpus", got,
         fmt::format("{:.3f} +- 0.02", ran_cpus),
         std::abs(got - ran_cpus) <= 0.02);
}

void check_capped(pid_t pid, const std::string& cpu_max, double want_cpus) {
  const std::array pids = {pid};
  auto proc = ProcRoot::open();
  if (!proc) give_up(proc.error().what);
  Observer observer(pids);
  DemandSeries series;
  (void)series.update(observer.read_after(std::chrono::seconds{2}));
  int held = 0;
  int held_and_marked = 0;
  int marked = 0;
  int marked_and_runnable = 0;
  double most = 0;
  TaskStatus before;
  for (int i = 0; i < 150; ++i) {
    const Sample& sample = observer.read_after(std::chrono::milliseconds{20});
    const TaskStatus status = vcpu_status(*proc, pid, sample);
    const bool runnable = status.state == 'R';
    const Demand& demand = series.update(sample);
    if (demand.vms.empty()) give_up("the VM has no demand");
    const bool is_marked = demand.vms[0].upper_bound;
    // Runnable at both ends of 20 ms with a quota of 5, and not asleep between:
    // it was held.
    const bool is_held = runnable && before.state == 'R' &&
                         status.voluntary_switches == before.voluntary_switches;
    held += is_held ? 1 : 0;
    held_and_marked += is_held && is_marked ? 1 : 0;
    marked += is_marked ? 1 : 0;
    marked_and_runnable += is_marked && runnable ? 1 : 0;
    if (is_held) most = std::max(most, cpus(vcpus_of(demand).demand));
    before = status;
  }
  const auto share = [](int some, int all) {
    return all == 0 ? 0.0 : static_cast<double>(some) / all;
  };
  report("capped.reads_while_held", held, ">= 30", held >= 30);
  report("capped.demand_while_held_cpus", most, "1 +- 0.05",
         std::abs(most - 1) <= 0.05);
  const double found = share(held_and_marked, held);
  report("capped.held_reads_that_are_marked", found, ">= 0.98", found >= 0.98);
  // It may fall asleep between the read and the look at its state.
  const double right = share(marked_and_runnable, marked);
  report("capped.marked_reads_that_are_held", right, ">= 0.95", right >= 0.95);
  lift_cap(cpu_max);
  check_released(*proc, pid, observer, series, want_cpus);
}

}  // namespace outrider::check
