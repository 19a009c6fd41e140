// SPDX-License-Identifier: Apache-2.0
#include "agent/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <cstdlib>
#include <memory>

#include "agent/utf8.h"

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

std::string one_word(std::string_view text) {
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
