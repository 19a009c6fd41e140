// SPDX-License-Identifier: Apache-2.0
#include "agent/cli/journal_source.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <time.h>

#include <charconv>
#include <cstring>
#include <optional>
#include <utility>

#include "agent/core/record.h"
#include "agent/journal_files.h"
#include "agent/sys/mapped_file.h"

namespace outrider {
namespace {

constexpr std::int64_t kNsPerSecond = 1'000'000'000;

tl::unexpected<Failure> failure(std::string what) {
  return tl::unexpected<Failure>(Failure{kExitError, std::move(what)});
}

tl::unexpected<Failure> failure(const Error& error) {
  if (error.code == 0) return failure(error.what);
  return failure(fmt::format("{}: {}", error.what, std::strerror(error.code)));
}

bool is_record_of_samples(std::span<const std::byte> bytes) {
  return RecordReader(bytes).next().has_value();
}

/// A segment with its head.
Answer<JournalSegment> open_segment(const std::string& path) {
  auto file = map_file(path);
  if (!file) return failure(file.error());
  JournalReader reader(file->span());
  auto record = reader.next();
  if (!record && is_record_of_samples(file->span())) {
    return failure(fmt::format(
        "{} is a record of samples: `outrider record {} --replay` shows it",
        path, path));
  }
  if (!record) return failure(fmt::format("{}: {}", path, record.error().what));
  if (!*record) return failure(fmt::format("{}: is empty", path));
  return JournalSegment{path, std::get<SegmentHead>(**record)};
}

/// ns of "5", "50", "500" ... after the point.
std::optional<std::int64_t> fraction_of(std::string_view digits) {
  std::int64_t ns = 0;
  if (digits.empty() || digits.size() > 9) return std::nullopt;
  for (std::size_t i = 0; i < 9; ++i) {
    const char digit = i < digits.size() ? digits[i] : '0';
    if (digit < '0' || digit > '9') return std::nullopt;
    ns = ns * 10 + (digit - '0');
  }
  return ns;
}

std::optional<std::int64_t> seconds_of(const std::string& text, bool is_utc) {
  if (text.starts_with('@')) {
    std::int64_t seconds = 0;
    const char* end = text.data() + text.size();
    const auto parsed = std::from_chars(text.data() + 1, end, seconds);
    const bool is_whole = parsed.ec == std::errc{} && parsed.ptr == end;
    // Of years that ns since 1970 can tell.
    if (!is_whole || seconds < 0 || seconds > 9'000'000'000) return {};
    return seconds;
  }
  tm parts{};
  parts.tm_isdst = -1;  // find out
  const char* end = ::strptime(text.c_str(), "%Y-%m-%dT%H:%M:%S", &parts);
  if (end == nullptr || *end != '\0') return std::nullopt;
  return is_utc ? ::timegm(&parts) : ::mktime(&parts);
}

}  // namespace

Answer<std::vector<JournalSegment>> open_journal(const std::string& path) {
  struct stat file {};
  const bool is_directory =
      ::stat(path.c_str(), &file) == 0 && S_ISDIR(file.st_mode);
  std::vector<std::string> paths = {path};
  if (is_directory) {
    auto found = find_segments(path);
    if (!found) return failure(found.error());
    paths = *std::move(found);
  }
  std::vector<JournalSegment> segments;
  std::optional<Failure> first_failure;
  for (const std::string& each : paths) {
    auto segment = open_segment(each);
    if (segment) {
      segments.push_back(*std::move(segment));
    } else if (!first_failure) {
      first_failure = std::move(segment.error());
    }
  }
  if (!segments.empty()) return segments;
  if (first_failure) return tl::unexpected<Failure>(*std::move(first_failure));
  return failure(fmt::format("{}: there is no journal", path));
}

Answer<std::vector<JournalSegment>> since(std::vector<JournalSegment> segments,
                                          std::int64_t wall_ns) {
  const std::int64_t oldest = segments.front().head.wall_ns;
  if (wall_ns < oldest) {
    return failure(fmt::format("{} is older than the journal, which begins {}",
                               time_text(wall_ns), time_text(oldest)));
  }
  std::size_t first = 0;
  while (first + 1 < segments.size() &&
         segments[first + 1].head.wall_ns <= wall_ns) {
    ++first;
  }
  segments.erase(segments.begin(),
                 segments.begin() + static_cast<std::ptrdiff_t>(first));
  return segments;
}

Answer<void> read_segment(
    const JournalSegment& segment,
    const std::function<Result<bool>(const JournalRecord&)>& take) {
  auto file = map_file(segment.path);
  if (!file) return failure(file.error());
  JournalReader reader(file->span());
  while (true) {
    auto record = reader.next();
    if (!record) {
      return failure(fmt::format("{}: {}", segment.path, record.error().what));
    }
    if (!*record) return {};
    auto taken = take(**record);
    if (!taken) {
      return failure(fmt::format("{}: record {}: {}", segment.path,
                                 reader.number(), taken.error().what));
    }
    if (!*taken) return {};
  }
}

Result<std::int64_t> parse_time(const std::string& text) {
  std::string whole = text;
  const bool is_utc = whole.ends_with('Z');
  if (is_utc) whole.pop_back();
  std::int64_t ns = 0;
  if (const std::size_t point = whole.find('.'); point != std::string::npos) {
    const auto fraction =
        fraction_of(std::string_view(whole).substr(point + 1));
    if (!fraction) return fail(0, "no time: " + text);
    ns = *fraction;
    whole.resize(point);
  }
  const auto seconds = seconds_of(whole, is_utc);
  if (!seconds) {
    return fail(0, "no time: " + text +
                       "; want e.g. 2026-11-20T16:22:36.5Z, without Z in local "
                       "time, or @1795191756.5");
  }
  return *seconds * kNsPerSecond + ns;
}

std::string time_text(std::int64_t wall_ns) {
  const time_t seconds = wall_ns / kNsPerSecond;
  tm parts{};
  ::gmtime_r(&seconds, &parts);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
                     parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday,
                     parts.tm_hour, parts.tm_min, parts.tm_sec,
                     wall_ns % kNsPerSecond / 1'000'000);
}

std::int64_t wall_of(const SegmentHead& head, Instant at) {
  return head.wall_ns + (at - head.at).count();
}

}  // namespace outrider
