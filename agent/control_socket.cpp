// SPDX-License-Identifier: Apache-2.0
#include "agent/control_socket.h"

#include <fmt/format.h>
#include <grp.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <vector>

#include "agent/log.h"

namespace outrider {
namespace {

constexpr int kBacklog = 16;
constexpr std::size_t kGroupBytesMax = std::size_t{1} << 20;

// Blocks on the name service: called before the loop turns.
Result<std::optional<gid_t>> find_group(const std::string& name) {
  std::vector<char> buffer(4096);
  group entry{};
  group* found = nullptr;
  int error = ERANGE;
  while (error == ERANGE && buffer.size() <= kGroupBytesMax) {
    buffer.resize(buffer.size() * 2);
    error = ::getgrnam_r(name.c_str(), &entry, buffer.data(), buffer.size(),
                         &found);
  }
  if (error != 0) return fail(error, fmt::format("getgrnam: {}", name));
  if (found == nullptr) return std::optional<gid_t>{};
  return std::optional<gid_t>{entry.gr_gid};
}

Result<> make_directory(const std::string& path) {
  const std::string dir = std::filesystem::path(path).parent_path();
  if (::mkdir(dir.c_str(), 0755) == 0) {
    // Whatever the umask was: a viewer must be able to reach the socket.
    if (::chmod(dir.c_str(), 0755) == 0) return {};
    return fail(errno, fmt::format("chmod: {}", dir));
  }
  if (errno == EEXIST) return {};
  return fail(errno, fmt::format("mkdir: {}", dir));
}

// Whether something answers at `address`; what cannot be told counts as yes.
bool is_alive(const sockaddr_un& address) {
  const Fd probe{
      ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  const int connected =
      ::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address),
                sizeof(address));
  return connected == 0 || (errno != ECONNREFUSED && errno != ENOENT);
}

Result<> clear_the_way(const sockaddr_un& address) {
  struct stat found {};
  if (::lstat(address.sun_path, &found) != 0) {
    if (errno == ENOENT) return {};
    return fail(errno, fmt::format("stat: {}", address.sun_path));
  }
  if (!S_ISSOCK(found.st_mode))
    return fail(0, fmt::format("{} is in the way and is no socket: remove it",
                               address.sun_path));
  if (is_alive(address))
    return fail(EADDRINUSE,
                fmt::format("an outriderd answers at {} already: stop it "
                            "first, or set control.socket",
                            address.sun_path));
  if (::unlink(address.sun_path) == 0 || errno == ENOENT) return {};
  return fail(errno, fmt::format("unlink: {}", address.sun_path));
}

Result<> bind_as(int fd, const sockaddr_un& address,
                 const ControlConfig& config, std::optional<gid_t> group) {
  const char* path = address.sun_path;
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&address),
             sizeof(address)) != 0)
    return fail(errno, fmt::format("bind: {}", path));
  if (group && ::lchown(path, static_cast<uid_t>(-1), *group) != 0)
    return fail(errno, fmt::format("chown: {}", path));
  if (::chmod(path, config.mode) != 0)
    return fail(errno, fmt::format("chmod: {}", path));
  if (::listen(fd, kBacklog) != 0)
    return fail(errno, fmt::format("listen: {}", path));
  return {};
}

}  // namespace

Result<sockaddr_un> control_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(address.sun_path))
    return fail(ENAMETOOLONG, fmt::format("{}: a socket's path has 1..{} bytes",
                                          path, sizeof(address.sun_path) - 1));
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

Result<ControlListener> open_control_socket(const ControlConfig& config) {
  auto address = control_address(config.socket);
  if (!address) return pass(address, "control");
  auto group = find_group(config.group);
  if (!group) return pass(group, "control");
  if (!*group)
    log_warning(
        "control group={} what=\"no such group\" next=\"only root may "
        "change anything\"",
        one_word(config.group));
  auto made = make_directory(config.socket);
  if (!made) return pass(made, "control");
  auto clear = clear_the_way(*address);
  if (!clear) return pass(clear, "control");
  ControlListener listener{
      .fd =
          Fd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)},
      .operators = *group};
  if (!listener.fd) return fail(errno, "control: socket");
  auto bound = bind_as(listener.fd.get(), *address, config, *group);
  if (!bound) return pass(bound, "control");
  struct stat file {};
  if (::lstat(config.socket.c_str(), &file) != 0)
    return fail(errno, "control: stat: " + config.socket);
  listener.device = file.st_dev;
  listener.inode = file.st_ino;
  return listener;
}

}  // namespace outrider
