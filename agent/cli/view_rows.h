// SPDX-License-Identifier: Apache-2.0
// The lines that every format of a View has, and the figures of CSV and JSON.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "agent/cli/view.h"

namespace outrider {

/// A VM, or one of its threads.
struct ViewRow {
  VmId vm{};
  std::string name;                      // of the VM, as its owner wrote it
  const ThreadDemand* thread = nullptr;  // nullptr: the VM
  bool upper_bound = false;
  ClassDemand cpu;
  MilliCpus throttled;     // of VMs only
  MilliCpus all_runnable;  // of VMs only
  std::uint32_t uncounted = 0;
  // A second.
  std::uint64_t wakeups = 0;
  std::uint64_t migrations = 0;
  std::uint64_t exits_all = 0;
  std::array<std::uint64_t, kExitClasses> exits{};
};

/// VMs sorted as wanted, each followed by its threads if they are shown.
std::vector<ViewRow> view_rows(const View& view, const ViewOptions& options);

/// "vcpu", "emulator", "iothread" or "vhost".
std::string_view class_name(ThreadClass thread_class);

/// A column of CSV and a member of JSON: unit last.
struct ViewFigure {
  std::string_view name;
  std::int64_t (*value)(const ViewRow& row);
};
std::span<const ViewFigure> view_figures();

}  // namespace outrider
