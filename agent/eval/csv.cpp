// SPDX-License-Identifier: Apache-2.0
#include "agent/eval/csv.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>

namespace outrider::eval {
namespace {

constexpr double kMissing = std::numeric_limits<double>::quiet_NaN();
constexpr double kUnbounded = std::numeric_limits<double>::infinity();
constexpr std::size_t kGapMax = 100'000;  // missing values that stand for one

struct Cell {
  std::string_view text;
  std::size_t column = 0;  // of its first character, from 1
};

/// What is wrong with a line, and where.
struct Fault {
  std::size_t column = 0;
  std::string what;
};

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r";
  const std::size_t begin = text.find_first_not_of(kBlank);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlank) - begin + 1);
}

/// The first of these that the line has; a space if none.
char separator_of(std::string_view line) {
  for (const char separator : {',', ';', '\t'}) {
    if (line.find(separator) != std::string_view::npos) return separator;
  }
  return ' ';
}

std::vector<Cell> cells_of(std::string_view line, char separator) {
  std::vector<Cell> cells;
  std::size_t begin = 0;
  for (;;) {
    // Spaces come in runs.
    while (separator == ' ' && begin < line.size() && line[begin] == ' ') {
      ++begin;
    }
    const std::size_t end = std::min(line.find(separator, begin), line.size());
    cells.push_back({trimmed(line.substr(begin, end - begin)), begin + 1});
    if (end == line.size()) break;
    begin = end + 1;
  }
  return cells;
}

std::optional<double> number(std::string_view text) {
  double value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc{} || stop != end) return std::nullopt;
  return value;
}

bool is_time(std::string_view name) {
  for (const std::string_view word : {"timestamp", "time", "t"}) {
    if (!name.starts_with(word)) continue;
    const std::string_view rest = trimmed(name.substr(word.size()));
    return rest.empty() || rest[0] == '_' || rest[0] == '[' || rest[0] == '(';
  }
  return false;
}

/// Puts one line after the other.
class Reader {
 public:
  Reader(const std::string& file, const TraceOptions& options)
      : file_(file), options_(options) {}

  Result<> take(std::string_view line) {
    ++line_number_;
    if (trimmed(line).empty() || trimmed(line)[0] == '#') return {};
    if (names_.empty()) separator_ = separator_of(trimmed(line));
    const auto cells = cells_of(trimmed(line), separator_);
    if (names_.empty() && name_columns(cells)) return {};
    const auto fault = read(cells);
    if (!fault) return {};
    if (options_.skip_bad) {
      ++skipped_;
      return {};
    }
    return fail(0, file_ + ":" + std::to_string(line_number_) + ":" +
                       std::to_string(fault->column) + ": " + fault->what);
  }

  Result<Trace> finish() && {
    Trace trace;
    trace.skipped = skipped_;
    trace.period = usual_distance();
    if (rows_.empty()) return fail(0, file_ + ": no line of numbers");
    for (std::size_t column = 0; column < names_.size(); ++column) {
      if (column == time_) continue;
      trace.names.push_back(names_[column]);
      trace.series.push_back(series_of(column, trace.period));
    }
    if (trace.series.empty()) return fail(0, file_ + ": only a time column");
    return trace;
  }

 private:
  static constexpr std::size_t kNoTime = static_cast<std::size_t>(-1);

  /// False where the first line is of numbers already: then columns have
  /// numbers for names.
  bool name_columns(const std::vector<Cell>& cells) {
    const bool has_names =
        std::any_of(cells.begin(), cells.end(), [](const Cell& cell) {
          return !cell.text.empty() && !number(cell.text);
        });
    for (std::size_t i = 0; i < cells.size(); ++i) {
      names_.push_back(has_names ? std::string(cells[i].text)
                                 : std::to_string(i + 1));
      if (has_names && time_ == kNoTime && is_time(cells[i].text)) time_ = i;
    }
    return has_names;
  }

  std::optional<Fault> read(const std::vector<Cell>& cells) {
    if (cells.size() != names_.size()) {
      return Fault{1, std::to_string(cells.size()) + " columns, not " +
                          std::to_string(names_.size())};
    }
    std::vector<double> row;
    for (std::size_t i = 0; i < cells.size(); ++i) {
      const auto value = cells[i].text.empty() && i != time_
                             ? kMissing
                             : number(cells[i].text);
      if (!value) return Fault{cells[i].column, "not a number"};
      if (std::isinf(*value)) return Fault{cells[i].column, "not finite"};
      if (*value < 0) return Fault{cells[i].column, "negative"};
      row.push_back(*value);
    }
    if (time_ != kNoTime && !rows_.empty() &&
        !(row[time_] > rows_.back()[time_])) {
      return Fault{cells[time_].column, "the time does not rise"};
    }
    rows_.push_back(std::move(row));
    return std::nullopt;
  }

  /// The median: gaps are rare.
  double usual_distance() const {
    if (time_ == kNoTime || rows_.size() < 2) return 0;
    std::vector<double> distances;
    for (std::size_t i = 1; i < rows_.size(); ++i) {
      distances.push_back(rows_[i][time_] - rows_[i - 1][time_]);
    }
    const auto middle =
        distances.begin() + static_cast<long>(distances.size() / 2);
    std::nth_element(distances.begin(), middle, distances.end());
    return *middle;
  }

  Series series_of(std::size_t column, double period) const {
    Series series{.values = {}, .capacity = kUnbounded};
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      if (i > 0 && period > 0) {
        const double distance = rows_[i][time_] - rows_[i - 1][time_];
        const auto steps = static_cast<std::size_t>(
            std::llround(std::min(distance / period, 1.0 * kGapMax)));
        series.values.insert(series.values.end(),
                             std::clamp<std::size_t>(steps, 1, kGapMax) - 1,
                             kMissing);
      }
      series.values.push_back(rows_[i][column]);
    }
    return series;
  }

  std::string file_;
  TraceOptions options_;
  std::size_t line_number_ = 0;
  char separator_ = ',';
  std::vector<std::string> names_;
  std::size_t time_ = kNoTime;
  std::vector<std::vector<double>> rows_;
  std::size_t skipped_ = 0;
};

}  // namespace

Result<Trace> parse_csv(std::string_view text, const std::string& file,
                        const TraceOptions& options) {
  Reader reader{file, options};
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    auto taken = reader.take(text.substr(0, end));
    if (!taken) return pass(taken, "trace");
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return std::move(reader).finish();
}

}  // namespace outrider::eval
