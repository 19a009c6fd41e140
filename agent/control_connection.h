// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/base/result.h"
#include "agent/base/units.h"
#include "agent/control.h"
#include "agent/control_request.h"
#include "agent/sys/event_loop.h"
#include "agent/sys/fd.h"

namespace outrider {

struct ControlPeer {
  pid_t pid = 0;
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;  // supplementary

  static Result<ControlPeer> of(int socket);
};

/// root is admin, a member of `operators` operator, anyone else viewer.
Role role_of(const ControlPeer& peer, std::optional<gid_t> operators);

/// A verb that goes on answering.
struct ControlStream {
  const ControlVerb* verb = nullptr;
  PeriodicTimer timer;
  std::optional<std::uint64_t> left;  // lines; none: for ever
  std::uint64_t dropped = 0;          // since the last line
};

/// One peer and what is on its way from and to it.
/// Invariant: holds at most one request line plus what one read took, and at
/// most one reply.
class ControlConnection {
 public:
  enum class Input : std::uint8_t { kOpen, kEnded, kBroken };

  ControlConnection(Fd fd, Role its_role, uid_t its_uid)
      : role(its_role), uid(its_uid), fd_(std::move(fd)) {}

  int fd() const { return fd_.get(); }

  /// Takes what has come, at most one buffer of it.
  Input receive();
  /// The next complete line, without its end; also what remains at the end of
  /// the input. Valid until the next call of anything here.
  std::optional<std::string_view> line() const;
  void drop_line();
  bool is_line_too_long() const;
  bool has_ended() const { return ended_; }

  /// What is to be sent; the caller appends to it.
  std::string& out() { return out_; }
  bool is_sending() const { return sent_ < out_.size(); }
  /// Sends what the peer takes. False: the peer is gone.
  bool send(Instant now);
  /// When the peer last took something, or a reply began to wait.
  Instant progress{};

  const Role role;
  const uid_t uid;
  std::optional<ControlRequest> request;  // being answered, or streamed
  std::optional<ControlStream> stream;
  std::uint64_t memory = 0;    // ControlCall::memory
  bool paused = false;         // has asked too much
  bool closing = false;        // once all is sent
  std::uint32_t interest = 0;  // epoll events it is watched for

 private:
  Fd fd_;
  std::string in_;
  std::string out_;
  std::size_t sent_ = 0;  // of out_
  bool ended_ = false;
};

}  // namespace outrider
