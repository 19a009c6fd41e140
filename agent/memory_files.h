// SPDX-License-Identifier: Apache-2.0
// What the kernel's files say of memory, of the host and of one cgroup. Pure,
// and without an allocation. Who lacks one line of a group of figures has none
// of that group: a figure that is not there is never a zero.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "agent/base/units.h"

namespace outrider {

/// /proc/meminfo.
struct MemoryAmounts {
  Bytes total{};
  Bytes free{};
  Bytes available{};  // free, and what can be had without swapping
  Bytes swap_total{};
  Bytes swap_free{};

  friend bool operator==(const MemoryAmounts&, const MemoryAmounts&) = default;
};
std::optional<MemoryAmounts> parse_meminfo(std::string_view text);

/// /proc/vmstat, since the host's start.
struct MemoryActivity {
  std::uint64_t pages_scanned_direct = 0;
  std::uint64_t alloc_stalls = 0;  // of all zones
  std::uint64_t swap_in_pages = 0;
  std::uint64_t swap_out_pages = 0;
  std::uint64_t major_faults = 0;

  friend bool operator==(const MemoryActivity&,
                         const MemoryActivity&) = default;
};
std::optional<MemoryActivity> parse_vmstat(std::string_view text);

/// memory.pressure or /proc/pressure/memory: microseconds in which some, or
/// all, of those that are not idle waited for memory.
struct MemoryPressure {
  std::uint64_t some_us = 0;
  std::uint64_t full_us = 0;

  friend bool operator==(const MemoryPressure&,
                         const MemoryPressure&) = default;
};
std::optional<MemoryPressure> parse_pressure(std::string_view text);

struct NodeMemory {
  std::uint32_t node = 0;
  Bytes free{};
  // Sums over its zones: below `low` kswapd wakes, at `high` it sleeps again.
  Bytes low{};
  Bytes high{};

  friend bool operator==(const NodeMemory&, const NodeMemory&) = default;
};

/// /proc/zoneinfo.
struct MemoryZones {
  static constexpr std::size_t kNodesMax = 64;

  Bytes low_watermark{};  // sums over all zones of all nodes
  Bytes high_watermark{};
  std::uint32_t nodes_left_out = 0;  // beyond kNodesMax; in the sums all same

  std::span<const NodeMemory> nodes() const { return {room.data(), count}; }

  std::array<NodeMemory, kNodesMax> room{};
  std::size_t count = 0;
};

/// Reads zoneinfo piece by piece: with hundreds of CPUs it is hundreds of KiB.
/// Invariant: `carried_` is the start of a line whose end has not come yet.
class ZoneinfoParser {
 public:
  explicit ZoneinfoParser(Bytes page) : page_(page) {}
  /// The next piece, cut anywhere.
  void add(std::string_view piece);
  /// nullopt: there was no zone, or one without all of its figures.
  std::optional<MemoryZones> finish();

 private:
  void add_line(std::string_view line);
  void add_figure(Bytes NodeMemory::*figure, std::string_view pages);
  void begin_zone(std::string_view line);
  void end_zone();

  Bytes page_;
  MemoryZones zones_;
  NodeMemory zone_;
  int figures_ = 0;  // of this zone: free, low, high
  bool in_zone_ = false;
  bool is_empty_ = false;
  bool is_bad_ = false;
  std::array<char, 128> carried_{};  // its longest lines have about 80
  std::size_t carried_bytes_ = 0;
};

/// memory.current, memory.swap.current.
std::optional<Bytes> parse_amount(std::string_view text);

/// memory.min, .low, .high, .max, .swap.max, .zswap.max.
inline constexpr Bytes kNoMemoryLimit{INT64_MAX};  // "max"
std::optional<Bytes> parse_memory_limit(std::string_view text);

/// memory.events: how often, in this cgroup and below.
struct MemoryEvents {
  std::uint64_t low = 0;   // reclaimed from though below memory.low
  std::uint64_t high = 0;  // throttled and reclaimed at memory.high
  std::uint64_t max = 0;   // about to go over memory.max
  std::uint64_t oom = 0;
  std::uint64_t oom_kill = 0;

  friend bool operator==(const MemoryEvents&, const MemoryEvents&) = default;
};
std::optional<MemoryEvents> parse_memory_events(std::string_view text);

/// memory.stat: amounts now, and counts since the cgroup was made; pages.
struct MemoryStat {
  Bytes anon{};
  Bytes file{};
  Bytes shmem{};  // within `file`
  std::uint64_t refaults_anon = 0;
  std::uint64_t refaults_file = 0;
  std::uint64_t major_faults = 0;
  std::uint64_t reclaim_scanned = 0;
  std::uint64_t reclaim_stolen = 0;

  friend bool operator==(const MemoryStat&, const MemoryStat&) = default;
};
std::optional<MemoryStat> parse_memory_stat(std::string_view text);

/// Whether a counter of `now` stands below that of `before`.
bool went_back(const MemoryActivity& before, const MemoryActivity& now);
bool went_back(const MemoryPressure& before, const MemoryPressure& now);
bool went_back(const MemoryEvents& before, const MemoryEvents& now);
bool went_back(const MemoryStat& before, const MemoryStat& now);

}  // namespace outrider
