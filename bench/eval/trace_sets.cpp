// SPDX-License-Identifier: Apache-2.0
#include "bench/eval/trace_sets.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <limits>
#include <numeric>
#include <optional>
#include <string_view>

#include "agent/eval/text_file.h"

namespace outrider::bench {
namespace {

using eval::Series;
using eval::SeriesSet;
using Texts = std::vector<std::string>;
using Words = std::vector<std::string_view>;

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
constexpr double kUnbounded = std::numeric_limits<double>::infinity();
constexpr std::size_t kDayOf300s = 288;
constexpr double kPercent = 100;
constexpr double kGridUs = 10'000;
constexpr std::size_t kShort = 400;  // ticks: of less, fewer are warm-up

Words split(std::string_view text, char separator) {
  Words words;
  for (;;) {
    const std::size_t end = text.find(separator);
    words.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return words;
    text.remove_prefix(end + 1);
  }
}

Words lines_of(std::string_view text) {
  Words lines = split(text, '\n');
  for (std::string_view& line : lines) {
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  }
  if (!lines.empty() && lines.back().empty()) lines.pop_back();
  return lines;
}

std::optional<double> number(std::string_view word) {
  while (!word.empty() && (word[0] == ' ' || word[0] == '\t')) {
    word.remove_prefix(1);
  }
  double value = 0;
  const char* end = word.data() + word.size();
  const auto [stop, error] = std::from_chars(word.data(), end, value);
  if (error != std::errc{} || stop != end) return std::nullopt;
  return value;
}

/// The files of a folder, unpacked, in the order of their names.
Result<Texts> read_folder(const std::string& folder,
                          const std::string& with = "") {
  std::vector<std::string> paths;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename();
    if (entry.path().extension() == ".gz" &&
        name.find(with) != std::string::npos) {
      paths.push_back(entry.path());
    }
  }
  if (error) return fail(error.value(), "list " + folder);
  std::sort(paths.begin(), paths.end());
  Texts texts;
  for (const std::string& path : paths) {
    auto text = eval::read_text_file(path);
    if (!text) return pass(text, "traces");
    texts.push_back(std::move(*text));
  }
  return texts;
}

// --- Bitbrains: one VM a file, semicolons ------------------------------------

struct BitbrainsKind {
  std::vector<std::size_t> columns;  // added up
  std::optional<std::size_t> capacity;
};

Series bitbrains_vm(std::string_view text, const BitbrainsKind& kind) {
  constexpr std::size_t kColumns = 11;
  Series series;
  series.capacity = kind.capacity ? 0 : kUnbounded;
  const Words lines = lines_of(text);
  for (std::size_t i = 1; i < lines.size(); ++i) {
    std::vector<double> row;
    for (const std::string_view word : split(lines[i], ';')) {
      const auto value = number(word);
      if (!value || row.size() == kColumns) break;
      row.push_back(*value);
    }
    if (row.size() < kColumns) continue;
    double sum = 0;
    for (const std::size_t column : kind.columns) sum += row[column];
    series.values.push_back(sum);
    if (kind.capacity) {
      series.capacity = std::max(series.capacity, row[*kind.capacity]);
    }
  }
  return series;
}

Result<SeriesSet> bitbrains(const std::string& folder,
                            const BitbrainsKind& kind) {
  auto texts = read_folder(folder + "/bitbrains-rnd-2013-07");
  if (!texts) return pass(texts, "bitbrains");
  SeriesSet set;
  set.season = kDayOf300s;
  for (const std::string& text : *texts) {
    set.series.push_back(bitbrains_vm(text, kind));
  }
  return set;
}

// --- Azure: one VM a column --------------------------------------------------

Result<SeriesSet> azure(const std::string& folder, const std::string& file) {
  auto text = eval::read_text_file(folder + "/azure-v1/" + file);
  if (!text) return pass(text, "azure");
  const Words lines = lines_of(*text);
  SeriesSet set;
  set.season = kDayOf300s;
  set.series.resize(split(lines.at(0), ',').size(),
                    {.values = {}, .capacity = kPercent});
  for (std::size_t i = 1; i < lines.size(); ++i) {
    const Words words = split(lines[i], ',');
    if (words.size() != set.series.size()) {
      return fail(0, file + ":" + std::to_string(i + 1) + ": " +
                         std::to_string(words.size()) + " columns");
    }
    for (std::size_t column = 0; column < words.size(); ++column) {
      set.series[column].values.push_back(
          number(words[column]).value_or(kNone));
    }
  }
  return set;
}

// --- PlanetLab: one VM a line, its name first --------------------------------

Result<SeriesSet> planetlab(const std::string& folder) {
  auto texts = read_folder(folder + "/planetlab");
  if (!texts) return pass(texts, "planetlab");
  SeriesSet set;
  for (const std::string& text : *texts) {
    for (const std::string_view line : lines_of(text)) {
      Series series{.values = {}, .capacity = kPercent};
      const Words words = split(line, ',');
      for (std::size_t i = 1; i < words.size(); ++i) {
        series.values.push_back(number(words[i]).value_or(kNone));
      }
      const double sum =
          std::accumulate(series.values.begin(), series.values.end(), 0.0);
      const auto count = static_cast<double>(series.values.size());
      if (sum > count) set.series.push_back(std::move(series));  // over 1 %
    }
  }
  return set;
}

// --- NAB: one metric a file, the value last ----------------------------------

Result<SeriesSet> nab_cpu(const std::string& folder) {
  auto texts = read_folder(folder + "/nab-aws-cloudwatch", "cpu");
  if (!texts) return pass(texts, "nab");
  SeriesSet set;
  set.season = kDayOf300s;
  for (const std::string& text : *texts) {
    Series series{.values = {}, .capacity = kPercent};
    const Words lines = lines_of(text);
    for (std::size_t i = 1; i < lines.size(); ++i) {
      const Words words = split(lines[i], ',');
      series.values.push_back(number(words.back()).value_or(kNone));
    }
    set.series.push_back(std::move(series));
  }
  return set;
}

// --- First-party: CPU microseconds since the row before, uneven rows ---------

struct Usage {
  std::vector<double> at_us;
  std::vector<double> total_us;  // since the recording began
};

/// Percent of one CPU in each 10 ms of an even grid: the sampler was late now
/// and then.
std::vector<double> on_grid(const Usage& usage) {
  std::vector<double> percent;
  std::size_t row = 0;
  const auto total_at = [&](double at_us) {
    while (row + 2 < usage.at_us.size() && usage.at_us[row + 1] <= at_us) ++row;
    const double way =
        (at_us - usage.at_us[row]) / (usage.at_us[row + 1] - usage.at_us[row]);
    return usage.total_us[row] +
           way * (usage.total_us[row + 1] - usage.total_us[row]);
  };
  const double begin = usage.at_us.front();
  double before = usage.total_us.front();
  for (std::size_t i = 1;; ++i) {
    const double at = begin + static_cast<double>(i) * kGridUs;
    if (at >= usage.at_us.back()) return percent;
    const double total = total_at(at);
    percent.push_back((total - before) / kGridUs * kPercent);
    before = total;
  }
}

std::vector<double> in_blocks(const std::vector<double>& values,
                              std::size_t size, bool peak) {
  std::vector<double> blocks;
  for (std::size_t i = 0; i + size <= values.size(); i += size) {
    const auto first = values.begin() + static_cast<long>(i);
    const auto last = first + static_cast<long>(size);
    blocks.push_back(peak ? *std::max_element(first, last)
                          : std::accumulate(first, last, 0.0) /
                                static_cast<double>(size));
  }
  return blocks;
}

std::vector<Usage> usages_of(std::string_view text) {
  const Words lines = lines_of(text);
  const Words names = split(lines.at(0), ',');
  std::vector<Usage> usages(names.size());
  for (std::size_t i = 1; i < lines.size(); ++i) {
    const Words words = split(lines[i], ',');
    if (words.size() != names.size()) continue;
    const double at = number(words[0]).value_or(kNone);
    for (std::size_t column = 0; column < words.size(); ++column) {
      Usage& usage = usages[column];
      const double before = usage.total_us.empty() ? 0 : usage.total_us.back();
      usage.at_us.push_back(at);
      usage.total_us.push_back(before + number(words[column]).value_or(kNone));
    }
  }
  std::vector<Usage> cpu;
  for (std::size_t column = 0; column < names.size(); ++column) {
    if (names[column].ends_with("_cpu_us")) cpu.push_back(usages[column]);
  }
  return cpu;
}

Result<SeriesSet> first_party(const std::string& folder, std::size_t ticks,
                              bool peak) {
  constexpr double kCapacity = 200;  // two CPUs
  auto texts = read_folder(folder + "/first-party-10ms");
  if (!texts) return pass(texts, "first-party");
  SeriesSet set;
  for (const std::string& text : *texts) {
    for (const Usage& usage : usages_of(text)) {
      set.series.push_back({.values = in_blocks(on_grid(usage), ticks, peak),
                            .capacity = kCapacity});
    }
  }
  return set;
}

TraceSet bitbrains_row(const char* name, BitbrainsKind kind) {
  return {name, "bitbrains",
          [kind = std::move(kind)](const std::string& folder) {
            return bitbrains(folder, kind);
          }};
}

TraceSet azure_row(const char* name, const char* source, const char* file) {
  return {name, source,
          [file](const std::string& folder) { return azure(folder, file); }};
}

TraceSet first_party_row(const char* name, std::size_t ticks, bool peak) {
  return {name, "first-party", [ticks, peak](const std::string& folder) {
            return first_party(folder, ticks, peak);
          }};
}

double sum_of(const Series& series) {
  double sum = 0;
  for (const double value : series.values) sum += std::isnan(value) ? 0 : value;
  return sum;
}

}  // namespace

std::vector<TraceSet> trace_sets() {
  return {
      bitbrains_row("bb-cpu", {.columns = {3}, .capacity = 2}),
      bitbrains_row("bb-mem", {.columns = {6}, .capacity = 5}),
      bitbrains_row("bb-disk", {.columns = {7, 8}, .capacity = {}}),
      bitbrains_row("bb-net", {.columns = {9, 10}, .capacity = {}}),
      azure_row("azure-avg", "azure", "microsoft_avg_100.csv.gz"),
      azure_row("azure-max", "azure", "microsoft_max_100.csv.gz"),
      azure_row("azure-per", "azure-periodic", "periodic_avg_78.csv.gz"),
      {"planetlab", "planetlab", planetlab},
      {"nab-cpu", "nab", nab_cpu},
      first_party_row("fp-10ms", 1, false),
      first_party_row("fp-50ms", 5, false),
      first_party_row("fp-100ms", 10, false),
      first_party_row("fp-1s", 100, false),
      first_party_row("fp-peak", 10, true),
  };
}

Result<SeriesSet> load(const TraceSet& trace_set, const std::string& folder) {
  auto set = trace_set.read(folder);
  if (!set) return pass(set, trace_set.name);
  set->name = trace_set.name;
  std::erase_if(set->series,
                [](const Series& series) { return !(sum_of(series) > 0); });
  if (set->series.empty()) return fail(0, trace_set.name + ": no series");
  for (Series& series : set->series) {
    for (const double value : series.values) {
      // Some exceed what they are stated to have.
      if (value > series.capacity) series.capacity = value;
    }
  }
  const bool is_short = eval::ticks_of(*set) < kShort;
  set->warm_up = is_short ? 48 : set->season > 0 ? 300 : 256;
  return set;
}

}  // namespace outrider::bench
