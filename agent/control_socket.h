// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>
#include <sys/un.h>

#include <optional>
#include <string>

#include "agent/base/result.h"
#include "agent/config.h"
#include "agent/sys/fd.h"

namespace outrider {

struct ControlListener {
  Fd fd;
  std::optional<gid_t> operators;  // none when there is no such group
  dev_t device = 0;                // of the socket's file
  ino_t inode = 0;
};

Result<sockaddr_un> control_address(const std::string& path);

/// Listens at `config.socket`; its directory is made, what a dead daemon left
/// is replaced. Nobody can connect before mode and group are set.
/// Errors: a daemon answers there; a file that is no socket is in the way.
Result<ControlListener> open_control_socket(const ControlConfig& config);

}  // namespace outrider
