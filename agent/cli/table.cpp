// SPDX-License-Identifier: Apache-2.0
#include "agent/cli/table.h"

#include <algorithm>
#include <cstddef>
#include <string_view>

namespace outrider {
namespace {

struct Column {
  std::size_t width = 0;
  bool is_numbers = true;
};

// Characters, not bytes: continuation bytes of UTF-8 take no room.
std::size_t width_of(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char byte) {
        return (static_cast<unsigned char>(byte) & 0xc0U) != 0x80U;
      }));
}

bool is_number(std::string_view text) {
  return text.find_first_not_of("0123456789.-+%<=") == std::string_view::npos;
}

std::vector<Column> measure(const std::vector<std::vector<std::string>>& rows) {
  std::vector<Column> columns;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    columns.resize(std::max(columns.size(), rows[i].size()));
    for (std::size_t j = 0; j < rows[i].size(); ++j) {
      Column& column = columns[j];
      column.width = std::max(column.width, width_of(rows[i][j]));
      column.is_numbers =
          column.is_numbers && (i == 0 || is_number(rows[i][j]));
    }
  }
  return columns;
}

}  // namespace

std::string table_text(const std::vector<std::vector<std::string>>& rows) {
  const std::vector<Column> columns = measure(rows);
  std::string out;
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t j = 0; j < row.size(); ++j) {
      const std::string gap(columns[j].width - width_of(row[j]), ' ');
      if (j > 0) line += "  ";
      line += columns[j].is_numbers ? gap + row[j] : row[j] + gap;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + '\n';
  }
  return out;
}

}  // namespace outrider
