// SPDX-License-Identifier: Apache-2.0
#include "agent/memory_files.h"

#include <algorithm>
#include <bitset>

#include "agent/proc.h"

namespace outrider {
namespace {

// The next line of `text`, which is cut off from it.
std::string_view take_line(std::string_view& text) {
  const std::size_t end = text.find('\n');
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return line;
}

// The next word between spaces, which is cut off from `line`.
std::string_view take_word(std::string_view& line) {
  const std::size_t start = line.find_first_not_of(" \t");
  if (start == std::string_view::npos) {
    line = {};
    return {};
  }
  line.remove_prefix(start);
  const std::string_view word = line.substr(0, line.find_first_of(" \t"));
  line.remove_prefix(word.size());
  return word;
}

std::optional<std::int64_t> parse_count(std::string_view word) {
  const auto number = parse_number(word);
  if (!number || *number > INT64_MAX) return std::nullopt;
  return static_cast<std::int64_t>(*number);
}

// "key value" lines, each key once, in any order and among others.
// Invariant: seen_ has a bit for each key whose figure was read.
template <class Figures, std::size_t kKeys>
class KeyTable {
 public:
  struct Row {
    std::string_view key;
    std::uint64_t Figures::*count = nullptr;
    Bytes Figures::*amount = nullptr;
  };
  using Rows = std::array<Row, kKeys>;

  // `unit`: bytes that an amount's figure counts.
  static std::optional<Figures> parse(const Rows& rows, std::string_view text,
                                      std::int64_t unit) {
    Figures figures;
    std::bitset<kKeys> seen;
    while (!text.empty()) {
      std::string_view line = take_line(text);
      std::string_view key = take_word(line);
      if (!key.empty() && key.back() == ':') key.remove_suffix(1);
      for (std::size_t i = 0; i < kKeys; ++i) {
        if (rows[i].key != key) continue;
        if (!put(rows[i], take_word(line), unit, figures)) return std::nullopt;
        seen.set(i);
      }
    }
    if (!seen.all()) return std::nullopt;
    return figures;
  }

 private:
  static bool put(const Row& row, std::string_view word, std::int64_t unit,
                  Figures& figures) {
    const auto number = parse_count(word);
    if (!number || *number > INT64_MAX / unit) return false;
    if (row.amount != nullptr) {
      figures.*row.amount = Bytes{*number * unit};
    } else {
      figures.*row.count = static_cast<std::uint64_t>(*number);
    }
    return true;
  }
};

using MeminfoTable = KeyTable<MemoryAmounts, 5>;
constexpr MeminfoTable::Rows kMeminfo{{
    {"MemTotal", nullptr, &MemoryAmounts::total},
    {"MemFree", nullptr, &MemoryAmounts::free},
    {"MemAvailable", nullptr, &MemoryAmounts::available},
    {"SwapTotal", nullptr, &MemoryAmounts::swap_total},
    {"SwapFree", nullptr, &MemoryAmounts::swap_free},
}};

using VmstatTable = KeyTable<MemoryActivity, 4>;
constexpr VmstatTable::Rows kVmstat{{
    {"pgscan_direct", &MemoryActivity::pages_scanned_direct, nullptr},
    {"pswpin", &MemoryActivity::swap_in_pages, nullptr},
    {"pswpout", &MemoryActivity::swap_out_pages, nullptr},
    {"pgmajfault", &MemoryActivity::major_faults, nullptr},
}};

using EventsTable = KeyTable<MemoryEvents, 5>;
constexpr EventsTable::Rows kEvents{{
    {"low", &MemoryEvents::low, nullptr},
    {"high", &MemoryEvents::high, nullptr},
    {"max", &MemoryEvents::max, nullptr},
    {"oom", &MemoryEvents::oom, nullptr},
    {"oom_kill", &MemoryEvents::oom_kill, nullptr},
}};

using StatTable = KeyTable<MemoryStat, 8>;
constexpr StatTable::Rows kStat{{
    {"anon", nullptr, &MemoryStat::anon},
    {"file", nullptr, &MemoryStat::file},
    {"shmem", nullptr, &MemoryStat::shmem},
    {"workingset_refault_anon", &MemoryStat::refaults_anon, nullptr},
    {"workingset_refault_file", &MemoryStat::refaults_file, nullptr},
    {"pgmajfault", &MemoryStat::major_faults, nullptr},
    {"pgscan", &MemoryStat::reclaim_scanned, nullptr},
    {"pgsteal", &MemoryStat::reclaim_stolen, nullptr},
}};

// One counter for each zone that this kernel has: allocstall_normal, ...
std::optional<std::uint64_t> sum_stalls(std::string_view text) {
  std::uint64_t sum = 0;
  bool any = false;
  while (!text.empty()) {
    std::string_view line = take_line(text);
    if (line.rfind("allocstall_", 0) != 0) continue;
    (void)take_word(line);
    const auto stalls = parse_number(take_word(line));
    if (!stalls) return std::nullopt;
    sum += *stalls;
    any = true;
  }
  return any ? std::optional{sum} : std::nullopt;
}

template <class Figures>
bool any_below(const Figures& before, const Figures& now,
               std::initializer_list<std::uint64_t Figures::*> counters) {
  return std::any_of(counters.begin(), counters.end(),
                     [&](std::uint64_t Figures::*counter) {
                       return now.*counter < before.*counter;
                     });
}

}  // namespace

std::optional<MemoryAmounts> parse_meminfo(std::string_view text) {
  return MeminfoTable::parse(kMeminfo, text, 1024);
}

std::optional<MemoryActivity> parse_vmstat(std::string_view text) {
  auto activity = VmstatTable::parse(kVmstat, text, 1);
  const auto stalls = sum_stalls(text);
  if (!activity || !stalls) return std::nullopt;
  activity->alloc_stalls = *stalls;
  return activity;
}

std::optional<MemoryPressure> parse_pressure(std::string_view text) {
  constexpr std::string_view kTotal = "total=";
  MemoryPressure pressure;
  bool has_some = false;
  bool has_full = false;
  while (!text.empty()) {
    std::string_view line = take_line(text);
    const std::string_view kind = take_word(line);
    const std::size_t at = line.find(kTotal);
    if (at == std::string_view::npos) continue;
    const auto total = parse_number(line.substr(at + kTotal.size()));
    if (!total) return std::nullopt;
    if (kind == "some") {
      pressure.some_us = *total;
      has_some = true;
    } else if (kind == "full") {
      pressure.full_us = *total;
      has_full = true;
    }
  }
  if (!has_some || !has_full) return std::nullopt;
  return pressure;
}

// --- zoneinfo ----------------------------------------------------------------

void ZoneinfoParser::add(std::string_view piece) {
  while (!piece.empty()) {
    const bool is_whole = piece.find('\n') != std::string_view::npos;
    const std::string_view part = take_line(piece);
    if (is_whole && carried_bytes_ == 0) {
      add_line(part);
      continue;
    }
    // What is too long to be carried is no line that is asked for here.
    const std::size_t room = carried_.size() - carried_bytes_;
    carried_bytes_ += part.copy(carried_.data() + carried_bytes_, room);
    if (!is_whole) return;
    add_line({carried_.data(), carried_bytes_});
    carried_bytes_ = 0;
  }
}

void ZoneinfoParser::begin_zone(std::string_view line) {
  std::string_view number = take_word(line);
  if (!number.empty() && number.back() == ',') number.remove_suffix(1);
  const auto node = parse_number(number);
  if (!node || *node > UINT32_MAX) {
    is_bad_ = true;
    return;
  }
  zone_ = NodeMemory{.node = static_cast<std::uint32_t>(*node)};
  figures_ = 0;
  is_empty_ = false;
  in_zone_ = true;
}

void ZoneinfoParser::end_zone() {
  if (!in_zone_) return;
  in_zone_ = false;
  if (figures_ != 3) {
    is_bad_ = true;
    return;
  }
  // From 6.12 on a zone without a page has watermarks all the same.
  if (is_empty_) return;
  zones_.low_watermark += zone_.low;
  zones_.high_watermark += zone_.high;
  const auto end = zones_.room.begin() + static_cast<int>(zones_.count);
  const auto node = std::find_if(
      zones_.room.begin(), end,
      [this](const NodeMemory& known) { return known.node == zone_.node; });
  if (node != end) {
    node->free += zone_.free;
    node->low += zone_.low;
    node->high += zone_.high;
  } else if (zones_.count < MemoryZones::kNodesMax) {
    zones_.room[zones_.count++] = zone_;
  } else {
    ++zones_.nodes_left_out;
  }
}

void ZoneinfoParser::add_figure(Bytes NodeMemory::*figure,
                                std::string_view pages) {
  const auto number = parse_count(pages);
  if (!number || *number > INT64_MAX / page_.count()) {
    is_bad_ = true;
    return;
  }
  zone_.*figure = Bytes{*number * page_.count()};
  ++figures_;
}

// A zone's figures, in this order: "pages free", then "low" and "high" (boost,
// min and, on newer kernels, promo are between and after them). The sets of
// pages of each CPU have a "high:", with a colon.
void ZoneinfoParser::add_line(std::string_view line) {
  const std::string_view key = take_word(line);
  if (key == "Node") {
    end_zone();
    begin_zone(line);
  } else if (!in_zone_) {
    return;
  } else if (key == "pages" && take_word(line) == "free") {
    add_figure(&NodeMemory::free, take_word(line));
  } else if (key == "low") {
    add_figure(&NodeMemory::low, take_word(line));
  } else if (key == "high") {
    add_figure(&NodeMemory::high, take_word(line));
  } else if (key == "managed") {
    is_empty_ = take_word(line) == "0";
  }
}

std::optional<MemoryZones> ZoneinfoParser::finish() {
  if (carried_bytes_ > 0) add_line({carried_.data(), carried_bytes_});
  carried_bytes_ = 0;
  end_zone();
  if (is_bad_ || zones_.count == 0) return std::nullopt;
  return zones_;
}

// --- One cgroup --------------------------------------------------------------

std::optional<Bytes> parse_amount(std::string_view text) {
  const auto number = parse_count(take_line(text));
  if (!number || !text.empty()) return std::nullopt;
  return Bytes{*number};
}

std::optional<Bytes> parse_memory_limit(std::string_view text) {
  if (text == "max" || text == "max\n") return kNoMemoryLimit;
  return parse_amount(text);
}

std::optional<MemoryEvents> parse_memory_events(std::string_view text) {
  return EventsTable::parse(kEvents, text, 1);
}

std::optional<MemoryStat> parse_memory_stat(std::string_view text) {
  return StatTable::parse(kStat, text, 1);
}

bool went_back(const MemoryActivity& before, const MemoryActivity& now) {
  using A = MemoryActivity;
  return any_below<A>(
      before, now,
      {&A::pages_scanned_direct, &A::alloc_stalls, &A::swap_in_pages,
       &A::swap_out_pages, &A::major_faults});
}

bool went_back(const MemoryPressure& before, const MemoryPressure& now) {
  using P = MemoryPressure;
  return any_below<P>(before, now, {&P::some_us, &P::full_us});
}

bool went_back(const MemoryEvents& before, const MemoryEvents& now) {
  using E = MemoryEvents;
  return any_below<E>(before, now,
                      {&E::low, &E::high, &E::max, &E::oom, &E::oom_kill});
}

bool went_back(const MemoryStat& before, const MemoryStat& now) {
  using S = MemoryStat;
  return any_below<S>(before, now,
                      {&S::refaults_anon, &S::refaults_file, &S::major_faults,
                       &S::reclaim_scanned, &S::reclaim_stolen});
}

}  // namespace outrider
