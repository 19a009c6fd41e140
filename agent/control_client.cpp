// SPDX-License-Identifier: Apache-2.0
#include "agent/control_client.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "agent/control_socket.h"
#include "agent/sys/clock.h"

namespace outrider {
namespace {

constexpr std::size_t kReplyBytesMax = std::size_t{16} << 20;
constexpr std::size_t kReadBytes = std::size_t{64} << 10;
constexpr Duration kSendPatience = std::chrono::seconds{5};

std::string advice(int code, const std::string& path) {
  if (code == ENOENT || code == ECONNREFUSED)
    return fmt::format(
        "outriderd is not running at {}: start it with `systemctl start "
        "outriderd` (or run `outriderd` as root), or pass --socket",
        path);
  if (code == EACCES || code == EPERM)
    return fmt::format(
        "{} is not open to you: be root or in the group that owns it", path);
  return fmt::format("connect: {}: {}", path, std::strerror(code));
}

// Whether `events` came before the deadline.
Result<> wait_for(int fd, short events, Instant deadline) {
  for (;;) {
    const Duration left =
        std::max(deadline - monotonic_now(), Duration::zero());
    const auto left_ms =
        std::chrono::ceil<std::chrono::milliseconds>(left).count();
    pollfd wait{.fd = fd, .events = events, .revents = 0};
    const int ready = ::poll(&wait, 1, static_cast<int>(left_ms));
    if (ready > 0) return {};
    if (ready == 0) return fail(ETIMEDOUT, "outriderd does not answer");
    if (errno != EINTR) return fail(errno, "poll");
  }
}

}  // namespace

Result<ControlClient> ControlClient::connect(const std::string& path) {
  auto address = control_address(path);
  if (!address) return tl::unexpected<Error>(std::move(address.error()));
  Fd fd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  if (!fd) return fail(errno, "socket");
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&*address),
                sizeof(*address)) != 0) {
    const int code = errno;
    return fail(code, advice(code, path));
  }
  return ControlClient{std::move(fd)};
}

Result<> ControlClient::send(std::string_view line) {
  const std::string text = std::string(line) + '\n';
  const Instant deadline = monotonic_now() + kSendPatience;
  std::size_t sent = 0;
  while (sent < text.size()) {
    auto ready = wait_for(fd_.get(), POLLOUT, deadline);
    if (!ready) return ready;
    const ssize_t taken =
        ::send(fd_.get(), text.data() + sent, text.size() - sent,
               MSG_NOSIGNAL | MSG_DONTWAIT);
    // EPIPE: the reason is there to be read.
    if (taken < 0 && errno == EPIPE) return {};
    if (taken < 0 && errno != EAGAIN && errno != EINTR)
      return fail(errno, "send to outriderd");
    if (taken > 0) sent += static_cast<std::size_t>(taken);
  }
  return {};
}

Result<> ControlClient::fill(Instant deadline) {
  auto ready = wait_for(fd_.get(), POLLIN, deadline);
  if (!ready) return ready;
  std::array<char, kReadBytes> bytes;
  const ssize_t got = ::recv(fd_.get(), bytes.data(), bytes.size(), 0);
  if (got < 0 && errno == EINTR) return {};
  if (got < 0) return fail(errno, "read from outriderd");
  if (got == 0) return fail(ECONNRESET, "outriderd has closed the connection");
  in_.append(bytes.data(), static_cast<std::size_t>(got));
  if (in_.size() > kReplyBytesMax + kReadBytes)
    return fail(EMSGSIZE, "an answer of outriderd is too long");
  return {};
}

Result<ControlReply> ControlClient::receive(Duration patience) {
  const Instant deadline = monotonic_now() + patience;
  std::size_t end = in_.find('\n', searched_);
  while (end == std::string::npos) {
    searched_ = in_.size();
    auto filled = fill(deadline);
    if (!filled) return tl::unexpected<Error>(std::move(filled.error()));
    end = in_.find('\n', searched_);
  }
  ControlReply reply;
  reply.text = in_.substr(0, end);
  in_.erase(0, end + 1);
  searched_ = 0;
  json_error_t error{};
  reply.json = Json{json_loadb(reply.text.data(), reply.text.size(),
                               JSON_REJECT_DUPLICATES, &error)};
  if (!json_is_object(reply.json.get()))
    return fail(0, "outriderd answers no JSON object: is it one?");
  return reply;
}

}  // namespace outrider
