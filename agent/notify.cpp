// SPDX-License-Identifier: Apache-2.0
// sd_notify(3) by hand: libsystemd brings 0.8 MiB of resident memory with it,
// for one datagram.
#include "agent/notify.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "agent/sys/fd.h"

namespace outrider {
namespace {

std::string_view environment(const char* name) {
  const char* text = ::getenv(name);
  return text == nullptr ? std::string_view{} : text;
}

std::optional<std::uint64_t> number_of(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size()) {
    return std::nullopt;
  }
  return number;
}

void tell(std::string_view state) {
  const std::string_view name = environment("NOTIFY_SOCKET");
  sockaddr_un address{};
  const bool is_name = !name.empty() && name.size() < sizeof(address.sun_path);
  if (!is_name || (name[0] != '/' && name[0] != '@')) return;
  address.sun_family = AF_UNIX;
  name.copy(address.sun_path, name.size());
  if (name[0] == '@') address.sun_path[0] = '\0';  // an abstract name
  const Fd fd{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  if (!fd) return;
  // Nobody listens, or nobody can: it is systemd's to act then.
  (void)::sendto(
      fd.get(), state.data(), state.size(), MSG_NOSIGNAL | MSG_DONTWAIT,
      reinterpret_cast<const sockaddr*>(&address),
      static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size()));
}

}  // namespace

void notify_ready() { tell("READY=1"); }

std::optional<Duration> watchdog_period() {
  const auto period_us = number_of(environment("WATCHDOG_USEC"));
  const std::string_view pid = environment("WATCHDOG_PID");
  const bool is_ours =
      pid.empty() || number_of(pid) == static_cast<std::uint64_t>(::getpid());
  if (!period_us || *period_us == 0 || !is_ours) return std::nullopt;
  return std::chrono::microseconds{*period_us};
}

void notify_alive() { tell("WATCHDOG=1"); }

void notify_stopping() { tell("STOPPING=1"); }

}  // namespace outrider
