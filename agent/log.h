// SPDX-License-Identifier: Apache-2.0
// Logging is for people: one line an event, once per failure, at the place
// that decides what to do about it, saying what happens next.
//
//   log_warning("attach vm={} errno={} next=\"retry at the next scan\"",
//               one_word(name), error.code);
#pragma once

#include <fmt/core.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "agent/base/units.h"

namespace outrider {

enum class LogLevel : std::uint8_t { kError, kWarning, kInfo, kDebug };

/// To stderr: with the syslog level as prefix where journald reads it
/// (JOURNAL_STREAM is set), else with the time of day. Calling it again
/// changes the level.
void start_log(LogLevel level);

bool log_enabled(LogLevel level);

/// Control characters and bytes that are no UTF-8 are written as \xNN: a line
/// stays a line whatever a guest or a peer put into it.
void write_log(LogLevel level, std::string_view line);

/// `text` with control characters and bytes that are no UTF-8 as \xNN.
std::string escaped(std::string_view text);

/// `text` escaped, and in quotes if it would not be one word without.
std::string one_word(std::string_view text);

template <class... Args>
void log_error(fmt::format_string<Args...> format, Args&&... args) {
  write_log(LogLevel::kError, fmt::format(format, std::forward<Args>(args)...));
}

template <class... Args>
void log_warning(fmt::format_string<Args...> format, Args&&... args) {
  write_log(LogLevel::kWarning,
            fmt::format(format, std::forward<Args>(args)...));
}

template <class... Args>
void log_info(fmt::format_string<Args...> format, Args&&... args) {
  write_log(LogLevel::kInfo, fmt::format(format, std::forward<Args>(args)...));
}

template <class... Args>
void log_debug(fmt::format_string<Args...> format, Args&&... args) {
  if (!log_enabled(LogLevel::kDebug)) return;
  write_log(LogLevel::kDebug, fmt::format(format, std::forward<Args>(args)...));
}

/// Lets a kind of event be logged once an interval.
/// Invariant: counts what it held back since it last let one pass.
class LogLimit {
 public:
  explicit LogLimit(Duration interval) : interval_(interval) {}
  /// Whether to log now; `held_back()` then says how many were not.
  bool pass(Instant now);
  std::uint64_t held_back() const { return held_back_; }

 private:
  Duration interval_;
  Instant next_{};
  bool passed_once_ = false;
  std::uint64_t waiting_ = 0;
  std::uint64_t held_back_ = 0;
};

}  // namespace outrider
