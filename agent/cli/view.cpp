// SPDX-License-Identifier: Apache-2.0
#include "agent/cli/view.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <vector>

#include "agent/cli/view_rows.h"
#include "agent/cli/view_text.h"

namespace outrider {
namespace {

constexpr std::array<std::string_view, 6> kSortNames = {
    "demand", "usage", "wait", "throttled", "exits", "name"};

struct Column {
  std::string_view title;
  std::size_t width;
};
constexpr auto kColumns = std::to_array<Column>({{"DEMAND", 7},
                                                 {"USAGE", 6},
                                                 {"WAIT", 6},
                                                 {"THROTTLED", 9},
                                                 {"POLL", 5},
                                                 {"RUNQ", 5},
                                                 {"EXITS/s", 7},
                                                 {"WAKE/s", 6}});
constexpr auto kExitColumns = std::to_array<Column>({{"HALT", 6},
                                                     {"IO", 6},
                                                     {"MMIO", 6},
                                                     {"MSR", 6},
                                                     {"INTR", 6},
                                                     {"FAULT", 6},
                                                     {"OTHER", 6}});
static_assert(kExitColumns.size() == kExitClasses);

constexpr std::size_t kTableColumns = 80;  // of the terminal, without threads
constexpr std::size_t kNameMin = 4;        // "NAME"

constexpr std::size_t name_max() {
  std::size_t others = 0;
  for (const Column& column : kColumns) others += column.width + 1;
  return kTableColumns - others;
}

/// In CPUs; fewer digits after the point where more stand before it.
std::string cpus(MilliCpus figure) {
  const double value = static_cast<double>(figure.count()) / 1000;
  if (value < 99.995) return fmt::format("{:.2f}", value);
  return fmt::format("{:.{}f}", value, value < 999.95 ? 1 : 0);
}

/// At most 5 characters.
std::string rate(std::uint64_t per_second) {
  if (per_second < 10'000) return fmt::format("{}", per_second);
  constexpr std::array<const char*, 6> kUnits = {"k", "M", "G", "T", "P", "E"};
  double value = static_cast<double>(per_second) / 1000;
  std::size_t unit = 0;
  for (; value >= 999.5 && unit + 1 < kUnits.size(); ++unit) value /= 1000;
  return fmt::format("{:.{}f}{}", value, value < 99.95 ? 1 : 0, kUnits[unit]);
}

std::string label(const ViewRow& row) {
  if (row.thread == nullptr) return visible_text(row.name);
  const ThreadDemand& thread = *row.thread;
  if (thread.thread_class == ThreadClass::kVcpu) {
    return fmt::format("  vcpu {} {}", thread.vcpu, thread.tid);
  }
  return fmt::format("  {} {}", class_name(thread.thread_class), thread.tid);
}

std::vector<std::string> cells(const ViewRow& row,
                               ViewOptions::Threads threads) {
  std::vector<std::string> out = {
      (row.upper_bound ? "<=" : "") + cpus(row.cpu.demand),
      cpus(row.cpu.usage),
      cpus(row.cpu.wait),
      row.thread == nullptr ? cpus(row.throttled) : "-",
      cpus(row.cpu.halt_poll),
      cpus(row.cpu.runnable),
      rate(row.exits_all),
      rate(row.wakeups)};
  if (threads == ViewOptions::Threads::kShown) {
    for (const std::uint64_t exits : row.exits) out.push_back(rate(exits));
  }
  return out;
}

std::string titles(ViewOptions::Threads threads) {
  std::string out;
  const auto add = [&out](const Column& column) {
    fmt::format_to(std::back_inserter(out), " {:>{}}", column.title,
                   column.width);
  };
  std::ranges::for_each(kColumns, add);
  if (threads == ViewOptions::Threads::kShown) {
    std::ranges::for_each(kExitColumns, add);
  }
  return out;
}

std::string sums(const View& view) {
  ClassDemand sum;
  bool upper_bound = false;
  for (const VmDemand& vm : view.demand.vms) {
    sum.demand += vm.total.demand;
    sum.usage += vm.total.usage;
    sum.wait += vm.total.wait;
    upper_bound |= vm.upper_bound;
  }
  const std::size_t vms = view.demand.vms.size();
  std::string out = fmt::format(
      "{}  {} VM{}  demand {}{}  usage {}  wait {} CPUs  over {:.3g} s",
      visible_text(view.time), vms, vms == 1 ? "" : "s",
      upper_bound ? "<=" : "", cpus(sum.demand), cpus(sum.usage),
      cpus(sum.wait), static_cast<double>(view.demand.interval.count()) / 1e9);
  if (view.sample.lost > 0) {
    fmt::format_to(std::back_inserter(out), "  lost {}", view.sample.lost);
  }
  return out;
}

}  // namespace

std::span<const std::string_view> view_sort_names() { return kSortNames; }

std::optional<ViewSort> parse_view_sort(std::string_view name) {
  const auto* at = std::ranges::find(kSortNames, name);
  if (at == kSortNames.end()) return std::nullopt;
  return static_cast<ViewSort>(at - kSortNames.begin());
}

std::string view_table(const View& view, const ViewOptions& options) {
  const std::vector<ViewRow> rows = view_rows(view, options);
  std::size_t width = kNameMin;
  for (const ViewRow& row : rows) {
    width = std::max(width, columns_of(label(row)));
  }
  width = std::min(width, name_max());
  std::string out = sums(view) + '\n';
  out += fitted("NAME", width) + titles(options.threads) + '\n';
  for (const ViewRow& row : rows) {
    out += fitted(label(row), width);
    const std::vector<std::string> all = cells(row, options.threads);
    for (std::size_t i = 0; i < all.size(); ++i) {
      const std::size_t cell_width =
          i < kColumns.size() ? kColumns[i].width
                              : kExitColumns[i - kColumns.size()].width;
      fmt::format_to(std::back_inserter(out), " {:>{}}", all[i], cell_width);
    }
    out += '\n';
  }
  return out;
}

const char* column_help() {
  return "NAME       the VM; beneath it with --vcpus its threads: class, vCPU, "
         "tid\n"
         "DEMAND     CPUs it would use if nothing limited it; <= where it is "
         "held\n"
         "           back and may want less\n"
         "USAGE      CPUs it used, halt polling included\n"
         "WAIT       threads that were runnable, but not on a CPU: what its "
         "users feel\n"
         "THROTTLED  CPUs' worth of time that its own limit took from it\n"
         "POLL       CPUs spent on halt polling: used, but not wanted\n"
         "RUNQ       threads runnable at once, on average\n"
         "EXITS/s    times a second that its vCPUs left the guest\n"
         "WAKE/s     times a second that one of its threads woke\n"
         "With --vcpus also the exits a second by class: HALT idle, IO port "
         "I/O,\n"
         "MMIO device memory, MSR registers, INTR interrupts of the host,\n"
         "FAULT memory that was not there yet, OTHER all else.\n";
}

}  // namespace outrider
