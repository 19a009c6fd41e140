// SPDX-License-Identifier: Apache-2.0
#include "agent/control_connection.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace outrider {
namespace {

constexpr std::size_t kReadBytes = std::size_t{16} << 10;
constexpr std::size_t kKeptBytes = std::size_t{64} << 10;  // of an idle buffer

}  // namespace

Result<ControlPeer> ControlPeer::of(int socket) {
  ucred credentials{};
  socklen_t size = sizeof(credentials);
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0)
    return fail(errno, "SO_PEERCRED");
  ControlPeer peer{.pid = credentials.pid,
                   .uid = credentials.uid,
                   .gid = credentials.gid,
                   .groups = {}};
  // The kernel's own list: asking the name service could block the loop.
  size = 0;
  while (::getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, peer.groups.data(),
                      &size) != 0) {
    if (errno != ERANGE) return fail(errno, "SO_PEERGROUPS");
    peer.groups.resize(size / sizeof(gid_t));
  }
  peer.groups.resize(size / sizeof(gid_t));
  return peer;
}

Role role_of(const ControlPeer& peer, std::optional<gid_t> operators) {
  if (peer.uid == 0) return Role::kAdmin;
  if (!operators) return Role::kViewer;
  const bool member = peer.gid == *operators ||
                      std::find(peer.groups.begin(), peer.groups.end(),
                                *operators) != peer.groups.end();
  return member ? Role::kOperator : Role::kViewer;
}

ControlConnection::Input ControlConnection::receive() {
  std::array<char, kReadBytes> bytes;
  const ssize_t got =
      ::recv(fd_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
  if (got < 0)
    return errno == EAGAIN || errno == EINTR ? Input::kOpen : Input::kBroken;
  if (got == 0) {
    ended_ = true;
    return Input::kEnded;
  }
  in_.append(bytes.data(), static_cast<std::size_t>(got));
  return Input::kOpen;
}

std::optional<std::string_view> ControlConnection::line() const {
  const std::string_view all = in_;
  const std::size_t end = all.find('\n');
  if (end != std::string_view::npos) return all.substr(0, end);
  if (ended_ && !all.empty()) return all;
  return std::nullopt;
}

void ControlConnection::drop_line() {
  const std::size_t end = in_.find('\n');
  in_.erase(0, end == std::string::npos ? end : end + 1);
  if (in_.empty() && in_.capacity() > kReadBytes) in_ = std::string{};
}

bool ControlConnection::is_line_too_long() const {
  return std::min(in_.find('\n'), in_.size()) > kRequestBytesMax;
}

bool ControlConnection::send(Instant now) {
  while (is_sending()) {
    const ssize_t sent =
        ::send(fd_.get(), out_.data() + sent_, out_.size() - sent_,
               MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return errno == EAGAIN;
    sent_ += static_cast<std::size_t>(sent);
    progress = now;
  }
  out_.clear();
  sent_ = 0;
  if (!stream && out_.capacity() > kKeptBytes) out_ = std::string{};
  return true;
}

}  // namespace outrider
