// SPDX-License-Identifier: Apache-2.0
#include "agent/journal_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <optional>
#include <string_view>
#include <utility>

#include "agent/sys/clock.h"

namespace outrider {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSuffix = ".journal";

/// NUMBER of BOOTTIME-NUMBER.journal.
std::optional<std::uint64_t> number_of(std::string_view name) {
  if (!name.ends_with(kSuffix)) return std::nullopt;
  name.remove_suffix(kSuffix.size());
  const std::size_t dash = name.find('-');
  if (dash == std::string_view::npos) return std::nullopt;
  std::uint64_t number = 0;
  const char* end = name.data() + name.size();
  const auto parsed = std::from_chars(name.data() + dash + 1, end, number);
  if (parsed.ec != std::errc{} || parsed.ptr != end) return std::nullopt;
  return number;
}

struct Found {
  std::uint64_t number = 0;
  std::string name;
};

Result<std::vector<Found>> scan(const std::string& directory) {
  std::vector<Found> found;
  std::error_code error;
  for (fs::directory_iterator at(directory, error), end; !error && at != end;
       at.increment(error)) {
    std::string name = at->path().filename();
    if (const auto number = number_of(name)) {
      found.push_back({*number, std::move(name)});
    }
  }
  if (error) return fail(error.value(), "read: " + directory);
  std::ranges::sort(found, {}, &Found::number);
  return found;
}

}  // namespace

Result<std::vector<std::string>> find_segments(const std::string& directory) {
  auto found = scan(directory);
  if (!found) return tl::unexpected<Error>(std::move(found.error()));
  std::vector<std::string> paths;
  for (const Found& each : *found) {
    paths.push_back(fs::path(directory) / each.name);
  }
  return paths;
}

Result<JournalFiles> JournalFiles::open(const std::string& directory,
                                        std::uint64_t bytes_max) {
  std::error_code error;
  fs::create_directories(fs::path(directory).parent_path(), error);
  if (::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) {
    return fail(errno, "mkdir: " + directory);
  }
  Fd dir{::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (!dir) return fail(errno, "open: " + directory);
  auto found = scan(directory);
  if (!found) return tl::unexpected<Error>(std::move(found.error()));
  JournalFiles files(std::move(dir), bytes_max);
  files.boot_seconds_ = boot_seconds();
  for (Found& each : *found) {
    struct stat file {};
    if (::fstatat(files.directory_.get(), each.name.c_str(), &file, 0) != 0) {
      continue;  // gone since it was listed
    }
    const auto size = static_cast<std::uint64_t>(file.st_size);
    files.bytes_ += size;
    files.segments_.push_back({each.number, size, std::move(each.name)});
  }
  return files;
}

Result<> JournalFiles::begin() {
  end();
  const std::uint64_t number =
      segments_.empty() ? 1 : segments_.back().number + 1;
  std::string name =
      fmt::format("{:010}-{:08}{}", boot_seconds_, number, kSuffix);
  Fd file{::openat(directory_.get(), name.c_str(),
                   O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)};
  if (!file) return fail(errno, "open: " + name);
  file_ = std::move(file);
  segments_.push_back({number, 0, std::move(name)});
  return {};
}

/// False: the present segment alone would be too large.
bool JournalFiles::make_room(std::uint64_t bytes) {
  while (bytes_ + bytes > bytes_max_ && segments_.size() > 1) {
    const Segment& oldest = segments_.front();
    // One that cannot be removed is counted no more: it would be tried for
    // ever. It is counted again at the next start.
    ::unlinkat(directory_.get(), oldest.name.c_str(), 0);
    bytes_ -= oldest.bytes;
    segments_.pop_front();
  }
  return bytes_ + bytes <= bytes_max_;
}

Result<> JournalFiles::put(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t wrote = ::write(file_.get(), bytes.data(), bytes.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return fail(errno, "write: " + segments_.back().name);
    bytes = bytes.subspan(static_cast<std::size_t>(wrote));
  }
  return {};
}

Result<> JournalFiles::write(
    std::span<const std::span<const std::byte>> parts) {
  std::uint64_t size = 0;
  for (const auto part : parts) size += part.size();
  if (!make_room(size)) {
    end();
    return fail(EFBIG, "a segment larger than journal.bytes_max");
  }
  Segment& segment = segments_.back();
  for (const auto part : parts) {
    auto done = put(part);
    if (done) continue;
    // What is there of these records would be torn.
    (void)::ftruncate(file_.get(), static_cast<off_t>(segment.bytes));
    end();
    return done;
  }
  segment.bytes += size;
  bytes_ += size;
  return {};
}

}  // namespace outrider
