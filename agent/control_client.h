// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "agent/base/result.h"
#include "agent/base/units.h"
#include "agent/json.h"
#include "agent/sys/fd.h"

namespace outrider {

/// One line of outriderd's: as it came, and parsed.
struct ControlReply {
  std::string text;
  Json json;
};

/// The other end of the control socket; waits, so it is not for the loop.
/// Invariant: connected; holds at most one reply and what one read took.
class ControlClient {
 public:
  /// Errors: code ENOENT or ECONNREFUSED when no daemon answers at `path`,
  /// EACCES when the socket's mode forbids; the text says what to do.
  static Result<ControlClient> connect(const std::string& path);

  /// `line` is a JSON object without end of line.
  Result<> send(std::string_view line);
  /// The next line. Errors: ETIMEDOUT after `patience`; the connection's end;
  /// no JSON; more than 16 MiB. A reply with "ok": false is no error here.
  Result<ControlReply> receive(Duration patience);

  int fd() const { return fd_.get(); }

 private:
  explicit ControlClient(Fd fd) : fd_(std::move(fd)) {}
  Result<> fill(Instant deadline);

  Fd fd_;
  std::string in_;
  std::size_t searched_ = 0;  // no end of line in in_ before here
};

}  // namespace outrider
