// SPDX-License-Identifier: Apache-2.0
// What `outrider top` and `outrider record --replay` show of one interval, as
// text: a table for people, CSV and JSON lines for programs. Pure: values in,
// text out. Names come from guests' owners, so control characters, and those
// that turn the direction of writing, are shown and not obeyed.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "agent/base/units.h"
#include "agent/core/demand.h"
#include "agent/core/sample.h"

namespace outrider {

struct VmName {
  VmId id{};
  std::string name;
};

/// One interval.
struct View {
  std::string_view time;  // of the interval's end, as the reader is to see it
  const Sample& sample;   // at the interval's end
  const Demand& demand;
  std::span<const VmName> names;  // sorted by id; "vm-ID" where one is missing
};

/// What comes first: the highest figure, or the first name. VMs that are equal
/// are in the order of their ids.
enum class ViewSort : std::uint8_t {
  kDemand,
  kUsage,
  kWait,
  kThrottled,
  kExits,
  kName,
};

/// The words for ViewSort, in its order.
std::span<const std::string_view> view_sort_names();
std::optional<ViewSort> parse_view_sort(std::string_view name);

struct ViewOptions {
  enum class Threads : std::uint8_t { kHidden, kShown };
  ViewSort sort = ViewSort::kDemand;
  Threads threads = Threads::kHidden;
};

/// A line of sums, then a line a VM and, if shown, one a thread beneath it.
/// Fits 80 columns, 132 with threads; names that do not fit end in an ellipsis.
std::string view_table(const View& view, const ViewOptions& options);

/// The names of the columns of view_csv(), as a line.
std::string view_csv_header();

/// A line a VM and, if shown, one a thread after it. Quoted as RFC 4180 says,
/// but with a line feed alone; control characters in names are escaped as in
/// the table.
std::string view_csv(const View& view, const ViewOptions& options);

/// One JSON object and a line feed. `schema` is 1 until a member is taken away
/// or changes its meaning.
std::string view_json(const View& view, const ViewOptions& options);

/// What each column of the table is, a line each.
const char* column_help();

}  // namespace outrider
