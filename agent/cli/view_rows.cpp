// SPDX-License-Identifier: Apache-2.0
#include "agent/cli/view_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <tuple>

namespace outrider {
namespace {

std::uint64_t per_second(std::uint64_t count, Duration interval) {
  if (interval <= Duration::zero()) return 0;
  constexpr double kMost = 1e18;
  const double rate =
      static_cast<double>(count) * 1e9 / static_cast<double>(interval.count());
  return static_cast<std::uint64_t>(std::round(std::min(rate, kMost)));
}

std::string name_of(VmId id, std::span<const VmName> names) {
  const auto at = std::ranges::lower_bound(names, id, {}, &VmName::id);
  if (at != names.end() && at->id == id) return at->name;
  return fmt::format("vm-{}", static_cast<std::uint32_t>(id));
}

/// What VmDemand and ThreadDemand have in common.
template <class Source>
ViewRow row_of(const Source& source, Duration interval) {
  ViewRow row;
  row.upper_bound = source.upper_bound;
  row.wakeups = per_second(source.wakeups, interval);
  row.migrations = per_second(source.migrations, interval);
  std::uint64_t all = 0;
  for (std::size_t e = 0; e < kExitClasses; ++e) {
    row.exits[e] = per_second(source.exits[e], interval);
    all += source.exits[e];
  }
  row.exits_all = per_second(all, interval);
  return row;
}

ViewRow vm_row(const View& view, const VmDemand& vm) {
  ViewRow row = row_of(vm, view.demand.interval);
  row.vm = vm.id;
  row.name = name_of(vm.id, view.names);
  row.cpu = vm.total;
  row.throttled = vm.throttled;
  row.all_runnable = vm.all_runnable;
  row.uncounted = vm.uncounted;
  return row;
}

/// Low comes first.
std::int64_t rank(const ViewRow& row, ViewSort sort) {
  switch (sort) {
    case ViewSort::kDemand:
      return -row.cpu.demand.count();
    case ViewSort::kUsage:
      return -row.cpu.usage.count();
    case ViewSort::kWait:
      return -row.cpu.wait.count();
    case ViewSort::kThrottled:
      return -row.throttled.count();
    case ViewSort::kExits:
      return -static_cast<std::int64_t>(row.exits_all);
    case ViewSort::kName:
      return 0;
  }
  return 0;
}

void append_threads(const View& view, const VmDemand& vm,
                    std::vector<ViewRow>& rows) {
  const std::string name = name_of(vm.id, view.names);
  const auto threads =
      std::span(view.demand.threads).subspan(vm.first_thread, vm.thread_count);
  for (const ThreadDemand& thread : threads) {
    ViewRow row = row_of(thread, view.demand.interval);
    row.vm = vm.id;
    row.name = name;
    row.thread = &thread;
    row.cpu = thread.cpu;
    rows.push_back(row);
  }
}

}  // namespace

std::vector<ViewRow> view_rows(const View& view, const ViewOptions& options) {
  const std::vector<VmDemand>& vms = view.demand.vms;
  std::vector<ViewRow> heads;
  heads.reserve(vms.size());
  for (const VmDemand& vm : vms) heads.push_back(vm_row(view, vm));
  std::vector<std::size_t> order(vms.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::sort(order, [&](std::size_t a, std::size_t b) {
    const std::int64_t rank_a = rank(heads[a], options.sort);
    const std::int64_t rank_b = rank(heads[b], options.sort);
    if (options.sort == ViewSort::kName) {
      return std::tie(heads[a].name, a) < std::tie(heads[b].name, b);
    }
    return std::tie(rank_a, a) < std::tie(rank_b, b);
  });
  std::vector<ViewRow> rows;
  for (const std::size_t i : order) {
    rows.push_back(heads[i]);
    if (options.threads == ViewOptions::Threads::kShown) {
      append_threads(view, vms[i], rows);
    }
  }
  return rows;
}

std::string_view class_name(ThreadClass thread_class) {
  constexpr std::array<std::string_view, kThreadClasses> kNames = {
      "vcpu", "emulator", "iothread", "vhost"};
  return kNames[static_cast<std::size_t>(thread_class)];
}

namespace {

template <ExitClass kind>
std::int64_t exits(const ViewRow& row) {
  return static_cast<std::int64_t>(row.exits[static_cast<std::size_t>(kind)]);
}

template <MilliCpus ClassDemand::*figure>
std::int64_t cpu(const ViewRow& row) {
  return (row.cpu.*figure).count();
}

template <auto figure>
std::int64_t count(const ViewRow& row) {
  return static_cast<std::int64_t>(row.*figure);
}

template <MilliCpus ViewRow::*figure>
std::int64_t milli(const ViewRow& row) {
  return (row.*figure).count();
}

constexpr auto kFigures = std::to_array<ViewFigure>({
    {"upper_bound", count<&ViewRow::upper_bound>},
    {"demand_mcpu", cpu<&ClassDemand::demand>},
    {"open_wait_mcpu", cpu<&ClassDemand::open_wait>},
    {"overcounted_mcpu", cpu<&ClassDemand::overcounted>},
    {"usage_mcpu", cpu<&ClassDemand::usage>},
    {"wait_mcpu", cpu<&ClassDemand::wait>},
    {"throttled_mcpu", milli<&ViewRow::throttled>},
    {"halt_poll_mcpu", cpu<&ClassDemand::halt_poll>},
    {"runnable_milli", cpu<&ClassDemand::runnable>},
    {"all_runnable_permille", milli<&ViewRow::all_runnable>},
    {"uncounted_threads", count<&ViewRow::uncounted>},
    {"wakeups_per_sec", count<&ViewRow::wakeups>},
    {"migrations_per_sec", count<&ViewRow::migrations>},
    {"exits_per_sec", count<&ViewRow::exits_all>},
    {"halt_exits_per_sec", exits<ExitClass::kHalt>},
    {"io_exits_per_sec", exits<ExitClass::kIo>},
    {"mmio_exits_per_sec", exits<ExitClass::kMmio>},
    {"msr_exits_per_sec", exits<ExitClass::kMsr>},
    {"interrupt_exits_per_sec", exits<ExitClass::kInterrupt>},
    {"page_fault_exits_per_sec", exits<ExitClass::kPageFault>},
    {"other_exits_per_sec", exits<ExitClass::kOther>},
});

}  // namespace

std::span<const ViewFigure> view_figures() { return kFigures; }

}  // namespace outrider
