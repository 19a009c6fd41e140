// SPDX-License-Identifier: Apache-2.0
#include "agent/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <cstdlib>
#include <memory>

namespace outrider {
namespace {

struct Log {
  spdlog::logger logger{"outrider",
                        std::make_shared<spdlog::sinks::stderr_sink_st>()};
  bool journald = std::getenv("JOURNAL_STREAM") != nullptr;
  LogLevel level = LogLevel::kInfo;

  Log() {
    logger.set_level(spdlog::level::trace);  // write_log has chosen already
    logger.set_pattern(journald ? "%v" : "%Y-%m-%dT%H:%M:%S.%e%z %l %v");
  }
};

Log& the_log() {
  static Log log;
  return log;
}

struct Severity {
  spdlog::level::level_enum level;
  std::string_view prefix;  // syslog(3): journald ranks the line by it
};

Severity severity_of(LogLevel level) {
  switch (level) {
    case LogLevel::kError:
      return {spdlog::level::err, "<3>"};
    case LogLevel::kWarning:
      return {spdlog::level::warn, "<4>"};
    case LogLevel::kInfo:
      return {spdlog::level::info, "<6>"};
    case LogLevel::kDebug:
      break;
  }
  return {spdlog::level::debug, "<7>"};
}

bool is_continuation(char byte) {
  return (static_cast<unsigned char>(byte) & 0xc0U) == 0x80U;
}

// Bytes of the well-formed UTF-8 character at the start of `text`, 0 if there
// is none. Overlong forms and surrogates are refused by the second byte's
// range (Unicode 15, table 3-7). C1 controls count as malformed here.
std::size_t utf8_length(std::string_view text) {
  const auto at = [&](std::size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U;
  };
  const unsigned first = at(0);
  const unsigned second = at(1);
  if (first < 0x80) return 1;
  std::size_t length = 0;
  if (first >= 0xc2 && first <= 0xdf) length = 2;
  if (first >= 0xe0 && first <= 0xef) length = 3;
  if (first >= 0xf0 && first <= 0xf4) length = 4;
  if (length == 0 || text.size() < length) return 0;
  const unsigned low = first == 0xe0 || first == 0xc2 ? 0xa0
                       : first == 0xf0                ? 0x90
                                                      : 0x80;
  const unsigned high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
  if (second < low || second > high) return 0;
  for (std::size_t i = 2; i < length; ++i)
    if (!is_continuation(text[i])) return 0;
  return length;
}

}  // namespace

void start_log(LogLevel level) { the_log().level = level; }

bool log_enabled(LogLevel level) { return level <= the_log().level; }

void write_log(LogLevel level, std::string_view line) {
  if (!log_enabled(level)) return;
  Log& log = the_log();
  const Severity severity = severity_of(level);
  log.logger.log(severity.level, "{}{}",
                 log.journald ? severity.prefix : std::string_view{},
                 escaped(line));
  log.logger.flush();
}

std::string escaped(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const auto byte = static_cast<unsigned char>(text.front());
    const std::size_t length = utf8_length(text);
    if (length == 0 || byte < 0x20 || byte == 0x7f) {
      out += fmt::format("\\x{:02x}", byte);
      text.remove_prefix(1);
    } else {
      out += text.substr(0, length);
      text.remove_prefix(length);
    }
  }
  return out;
}

std::string quoted(std::string_view text) {
  std::string plain = escaped(text);
  if (!plain.empty() && plain.find_first_of(" \"=") == std::string::npos)
    return plain;
  std::string out = "\"";
  for (const char c : plain) {
    if (c == '"') out += '\\';
    out += c;
  }
  return out += '"';
}

bool LogLimit::pass(Instant now) {
  if (passed_once_ && now < next_) {
    ++waiting_;
    return false;
  }
  passed_once_ = true;
  next_ = now + interval_;
  held_back_ = std::exchange(waiting_, 0);
  return true;
}

}  // namespace outrider
