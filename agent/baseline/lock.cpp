// SPDX-License-Identifier: Apache-2.0
#include "agent/baseline/lock.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <span>

#include "agent/base/crc32c.h"
#include "agent/base/units.h"
#include "agent/baseline/mapping.h"
#include "agent/sys/clock.h"

namespace outrider {
namespace {

// A warden puts thousands of knobs back in less.
constexpr Duration kWardenPatience = std::chrono::seconds{2};
constexpr int kLookAgainMs = 2;

bool is_private(const struct stat& facts, mode_t forbidden) {
  return facts.st_uid == ::geteuid() && (facts.st_mode & forbidden) == 0;
}

bool try_lock(int file) {
  struct flock whole {};
  whole.l_type = F_WRLCK;
  whole.l_whence = SEEK_SET;
  return ::fcntl(file, F_OFD_SETLK, &whole) == 0;
}

// Whether the table says that a live agent owns it, and which.
bool has_live_owner(int file, std::int32_t& pid) {
  auto mapping = BaselineMapping::map(file);
  if (!mapping) return false;
  pid = mapping->file().header.owner_pid;
  return mapping->has_owner();
}

struct Free {
  void operator()(char* text) const { std::free(text); }
};

// Of the path without links, so that two spellings of it are one name.
Result<sockaddr_un> socket_name(const std::string& dir) {
  const std::unique_ptr<char, Free> path{::realpath(dir.c_str(), nullptr)};
  if (!path) return fail(errno, "resolve " + dir);
  const std::string_view text{path.get()};
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  // sun_path[0] stays 0: an abstract name, gone with its last descriptor.
  (void)std::snprintf(
      address.sun_path + 1, sizeof(address.sun_path) - 1, "outrider-agent-%08x",
      crc32c(std::as_bytes(std::span{text.data(), text.size()})));
  return address;
}

// Who listens at that name; -1: nobody any more.
uid_t listener(const sockaddr_un& address) {
  const Fd fd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  ucred peer{};
  socklen_t bytes = sizeof(peer);
  if (!fd ||
      ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address),
                sizeof(address)) != 0 ||
      ::getsockopt(fd.get(), SOL_SOCKET, SO_PEERCRED, &peer, &bytes) != 0) {
    return static_cast<uid_t>(-1);
  }
  return peer.uid;
}

}  // namespace

Result<Fd> open_table_file(const std::string& dir) {
  if (::mkdir(dir.c_str(), 0700) != 0 && errno != EEXIST) {
    return fail(errno, "make " + dir);
  }
  const Fd folder{::open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  struct stat facts {};
  if (!folder || ::fstat(folder.get(), &facts) != 0) {
    return fail(errno, "open " + dir);
  }
  if (!is_private(facts, S_IWGRP | S_IWOTH)) {
    return fail(EPERM, dir + " can be changed by others");
  }
  Fd file{::openat(folder.get(), "baseline",
                   O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600)};
  if (!file || ::fstat(file.get(), &facts) != 0) {
    return fail(errno, "open " + dir + "/baseline");
  }
  if (!S_ISREG(facts.st_mode) || facts.st_nlink > 1 ||
      !is_private(facts, S_IRWXG | S_IRWXO)) {
    return fail(EPERM, dir + "/baseline is not ours alone");
  }
  return file;
}

Result<> lock_table_file(int file) {
  const Instant until = monotonic_now() + kWardenPatience;
  std::int32_t pid = 0;
  while (!try_lock(file)) {
    if (errno != EAGAIN && errno != EACCES) {
      return fail(errno, "lock the table of baselines");
    }
    if (has_live_owner(file, pid)) {
      return fail(EWOULDBLOCK, "another agent, pid " + std::to_string(pid) +
                                   ", holds the table of baselines");
    }
    if (monotonic_now() > until) {
      return fail(EWOULDBLOCK, "the warden of an agent that is dead (pid " +
                                   std::to_string(pid) +
                                   ") still holds the table of baselines");
    }
    (void)::poll(nullptr, 0, kLookAgainMs);  // early is as good
  }
  return {};
}

Result<Fd> take_socket_name(const std::string& dir) {
  auto address = socket_name(dir);
  if (!address) return pass(address, "agent's name");
  Fd fd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  if (!fd) return fail(errno, "socket");
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&*address),
             sizeof(*address)) == 0) {
    if (::listen(fd.get(), 1) != 0) return fail(errno, "listen");
    return fd;
  }
  if (errno != EADDRINUSE) return fail(errno, "bind the agent's name");
  const uid_t holder = listener(*address);
  if (holder == 0 || holder == ::geteuid()) {
    return fail(EWOULDBLOCK, "another agent works for " + dir);
  }
  return Fd{};
}

}  // namespace outrider
