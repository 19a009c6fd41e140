// SPDX-License-Identifier: Apache-2.0
#include "agent/rollup_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <vector>

namespace outrider {
namespace {

constexpr std::size_t kNameBytesMax = 36;  // a UUID's, with its dashes
constexpr std::string_view kSuffix = ".rollup";
constexpr std::string_view kNewSuffix = ".new";
constexpr std::int64_t kKeptSeconds = 1'209'600;  // 14 days

std::string name_of(std::string_view uuid, std::string_view suffix) {
  std::string name(uuid);
  return name += suffix;
}

bool is_ours(std::string_view file) {
  for (const std::string_view suffix : {kSuffix, kNewSuffix}) {
    if (!file.ends_with(suffix)) continue;
    return RollupFiles::is_name(file.substr(0, file.size() - suffix.size()));
  }
  return false;
}

Result<> put(int fd, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t wrote = ::write(fd, bytes.data(), bytes.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return fail(errno, "write");
    bytes = bytes.subspan(static_cast<std::size_t>(wrote));
  }
  return {};
}

/// Up to one byte more than a roll-up has.
Result<std::vector<std::byte>> read_all(int fd) {
  std::vector<std::byte> bytes(Rollup::kBytes + 1);
  std::size_t size = 0;
  while (size < bytes.size()) {
    const ssize_t got = ::read(fd, bytes.data() + size, bytes.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(errno, "read");
    if (got == 0) break;
    size += static_cast<std::size_t>(got);
  }
  bytes.resize(size);
  return bytes;
}

struct CloseDir {
  void operator()(DIR* dir) const { ::closedir(dir); }
};

}  // namespace

bool RollupFiles::is_name(std::string_view uuid) {
  const auto is_digit = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') ||
           (c >= 'A' && c <= 'F') || c == '-';
  };
  return !uuid.empty() && uuid.size() <= kNameBytesMax &&
         std::ranges::all_of(uuid, is_digit);
}

Result<RollupFiles> RollupFiles::open(const std::string& directory) {
  std::error_code error;  // what it comes to, mkdir says
  std::filesystem::create_directories(
      std::filesystem::path(directory).parent_path(), error);
  if (::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) {
    return fail(errno, "mkdir: " + directory);
  }
  Fd dir{::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (!dir) return fail(errno, "open: " + directory);
  return RollupFiles(std::move(dir));
}

Result<Rollup> RollupFiles::read(std::string_view uuid) const {
  assert(is_name(uuid));
  const std::string name = name_of(uuid, kSuffix);
  const Fd file{::openat(directory_.get(), name.c_str(),
                         O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)};
  if (!file && errno == ENOENT) return Rollup{};
  if (!file) return fail(errno, "open: " + name);
  auto bytes = read_all(file.get());
  if (!bytes) return pass(bytes, name);
  auto rollup = Rollup::load(*bytes);
  if (!rollup) return pass(rollup, name);
  return rollup;
}

Result<> RollupFiles::write(std::string_view uuid, const Rollup& rollup) const {
  assert(is_name(uuid));
  const std::string name = name_of(uuid, kSuffix);
  const std::string beside = name_of(uuid, kNewSuffix);
  // What is there already may be no file, and might be waited for.
  ::unlinkat(directory_.get(), beside.c_str(), 0);
  const Fd file{::openat(directory_.get(), beside.c_str(),
                         O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
                         0600)};
  if (!file) return fail(errno, "open: " + beside);
  auto done = put(file.get(), rollup.save());
  if (done && ::renameat(directory_.get(), beside.c_str(), directory_.get(),
                         name.c_str()) != 0) {
    done = fail(errno, "rename");
  }
  if (done) return {};
  ::unlinkat(directory_.get(), beside.c_str(), 0);
  return pass(done, name);
}

std::size_t RollupFiles::remove_old(std::int64_t now_unix_seconds) const {
  // A descriptor of its own: closedir takes it.
  const int fd =
      ::openat(directory_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return 0;
  const std::unique_ptr<DIR, CloseDir> dir(::fdopendir(fd));
  if (dir == nullptr) {
    ::close(fd);
    return 0;
  }
  std::size_t removed = 0;
  while (const dirent* entry = ::readdir(dir.get())) {
    struct stat file {};
    if (!is_ours(entry->d_name) ||
        ::fstatat(fd, entry->d_name, &file, AT_SYMLINK_NOFOLLOW) != 0 ||
        !S_ISREG(file.st_mode) ||
        now_unix_seconds - file.st_mtim.tv_sec <= kKeptSeconds) {
      continue;
    }
    removed += ::unlinkat(fd, entry->d_name, 0) == 0 ? 1 : 0;
  }
  return removed;
}

}  // namespace outrider
