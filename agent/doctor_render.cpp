// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <string_view>

#include "agent/doctor.h"
#include "agent/json.h"

namespace outrider {
namespace {

constexpr std::size_t kGap = 2;

struct Widths {
  std::size_t state = 5;
  std::size_t area = 4;
  std::size_t what = 4;
};

using Tally = std::array<std::uint32_t, 4>;

Tally tally(const DoctorReport& report) {
  Tally counts{};
  for (const DoctorLine& line : report.lines) {
    ++counts[static_cast<std::size_t>(line.state)];
  }
  return counts;
}

// Names of VMs and cgroups are others' text: no escapes to the terminal.
std::string shown(std::string_view text) {
  std::string clean{text};
  std::replace_if(
      clean.begin(), clean.end(),
      [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; },
      '?');
  return clean;
}

std::string padded(std::string_view text, std::size_t width) {
  std::string cell = shown(text);
  cell.append(width + kGap - std::min(width, cell.size()), ' ');
  return cell;
}

void append_row(std::string& out, const Widths& widths,
                const std::array<std::string_view, 4>& cells) {
  out.append(padded(cells[0], widths.state))
      .append(padded(cells[1], widths.area))
      .append(padded(cells[2], widths.what))
      .append(shown(cells[3]))
      .append("\n");
}

std::string summary(const DoctorReport& report) {
  const Tally counts = tally(report);
  std::string text;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    text.append(i == 0 ? "" : ", ")
        .append(std::to_string(counts[i]))
        .append(" ")
        .append(to_text(static_cast<DoctorState>(i)));
  }
  return text.append(
      doctor_exit_code(report) == 0
          ? ": this host can do all that Outrider asks for."
          : ": this host is degraded; each cost is named above.");
}

}  // namespace

std::string doctor_table(const DoctorReport& report) {
  Widths widths;
  for (const DoctorLine& line : report.lines) {
    widths.state =
        std::max(widths.state, std::string_view{to_text(line.state)}.size());
    widths.area = std::max(widths.area, line.area.size());
    widths.what = std::max(widths.what, line.what.size());
  }
  std::string out;
  append_row(out, widths, {"STATE", "AREA", "WHAT", "FOUND"});
  for (const DoctorLine& line : report.lines) {
    append_row(out, widths,
               {to_text(line.state), line.area, line.what, line.found});
    if (line.state == DoctorState::kOk) continue;
    if (!line.cost.empty()) {
      append_row(out, widths, {"", "", "", "  costs: " + line.cost});
    }
    if (!line.advice.empty()) {
      append_row(out, widths, {"", "", "", "  do: " + line.advice});
    }
  }
  return out.append("\n").append(summary(report)).append("\n");
}

std::string doctor_json(const DoctorReport& report) {
  std::string out;
  JsonText json{out};
  json.object().member("schema", 1).member("kernel", report.kernel);
  json.member("state", doctor_exit_code(report) == 0 ? "ok" : "degraded");
  const Tally counts = tally(report);
  json.key("count").object();
  for (std::size_t i = 0; i < counts.size(); ++i) {
    json.member(to_text(static_cast<DoctorState>(i)), counts[i]);
  }
  json.end().key("lines").array();
  for (const DoctorLine& line : report.lines) {
    json.object().member("area", line.area).member("what", line.what);
    json.member("state", to_text(line.state)).member("found", line.found);
    json.member("cost", line.cost).member("advice", line.advice).end();
  }
  json.end().end();
  return out;
}

}  // namespace outrider
