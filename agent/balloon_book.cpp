// SPDX-License-Identifier: Apache-2.0
#include "agent/balloon_book.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <optional>
#include <system_error>
#include <utility>

#include "agent/sys/fd.h"

namespace outrider {
namespace {

constexpr std::size_t kBytesMax = std::size_t{1} << 20;
constexpr std::uint64_t kBytesOfGuestMax = std::uint64_t{1} << 52;

std::optional<HeldBalloon> parse_line(std::string_view line) {
  const auto words = split(line, " ");
  if (words.size() != 4) return std::nullopt;
  const auto pid = parse_number(words[0]);
  const auto start = parse_number(words[1]);
  const auto baseline = parse_number(words[2]);
  const auto target = parse_number(words[3]);
  if (!pid || *pid > std::numeric_limits<pid_t>::max()) return std::nullopt;
  if (!start || !baseline || !target) return std::nullopt;
  if (*baseline > kBytesOfGuestMax || *target > *baseline) return std::nullopt;
  return HeldBalloon{.pid = static_cast<pid_t>(*pid),
                     .start_ticks = *start,
                     .baseline = Bytes{static_cast<std::int64_t>(*baseline)},
                     .target = Bytes{static_cast<std::int64_t>(*target)}};
}

bool is_of(const HeldBalloon& balloon, const VmIdentity& vm) {
  return balloon.pid == vm.pid && balloon.start_ticks == vm.start_ticks;
}

bool is_alive(const ProcRoot& proc, const HeldBalloon& balloon) {
  const auto stat = read_stat(proc, balloon.pid);
  return stat && stat->start_ticks == balloon.start_ticks;
}

}  // namespace

Result<BalloonBook> BalloonBook::open(const std::string& directory,
                                      const ProcRoot& proc) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) return fail(error.value(), "make " + directory);
  BalloonBook book(directory + "/balloons");
  auto text = read_text_at(AT_FDCWD, book.path_, kBytesMax);
  if (text) {
    for (const std::string_view line : split(*text, "\n")) {
      const auto balloon = parse_line(line);
      if (balloon && is_alive(proc, *balloon)) book.held_.push_back(*balloon);
    }
  }
  return book;
}

const HeldBalloon* BalloonBook::find(const VmIdentity& vm) const {
  const auto held = std::ranges::find_if(
      held_, [&vm](const HeldBalloon& each) { return is_of(each, vm); });
  return held == held_.end() ? nullptr : &*held;
}

Result<> BalloonBook::note(const HeldBalloon& balloon) {
  const auto held =
      std::ranges::find_if(held_, [&balloon](const HeldBalloon& each) {
        return each.pid == balloon.pid &&
               each.start_ticks == balloon.start_ticks;
      });
  if (held == held_.end()) {
    held_.push_back(balloon);
  } else {
    *held = balloon;
  }
  return write();
}

Result<> BalloonBook::forget(const VmIdentity& vm) {
  const auto count = std::erase_if(
      held_, [&vm](const HeldBalloon& each) { return is_of(each, vm); });
  if (count == 0) return {};
  return write();
}

Result<> BalloonBook::write() const {
  std::string text;
  for (const HeldBalloon& each : held_) {
    for (const std::uint64_t word :
         {static_cast<std::uint64_t>(each.pid), each.start_ticks,
          static_cast<std::uint64_t>(each.baseline.count())}) {
      text += std::to_string(word) + ' ';
    }
    text += std::to_string(each.target.count()) + '\n';
  }
  const std::string beside = path_ + ".new";
  {
    const Fd file{::open(beside.c_str(),
                         O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
                         0600)};
    if (!file) return fail(errno, "open " + beside);
    const ssize_t put = ::write(file.get(), text.data(), text.size());
    if (put != static_cast<ssize_t>(text.size())) {
      return fail(put < 0 ? errno : ENOSPC, "write " + beside);
    }
  }
  if (std::rename(beside.c_str(), path_.c_str()) != 0) {
    return fail(errno, "rename " + beside);
  }
  return {};
}

}  // namespace outrider
