// SPDX-License-Identifier: Apache-2.0
// One agent at a time: a lock on the table's file, which goes with whoever has
// it open, and an abstract socket name, which holds where the file was
// replaced.
#pragma once

#include <string>

#include "agent/base/result.h"
#include "agent/sys/fd.h"

namespace outrider {

/// DIR/baseline, made where it is not there; its directory too (mode 0700).
/// Errors: a file or directory that others may change.
Result<Fd> open_table_file(const std::string& dir);

/// Waits for the lock while its holder is no live agent: then it is a warden
/// that is putting things back, which takes milliseconds.
/// Errors: EWOULDBLOCK; the text says who holds it.
Result<> lock_table_file(int file);

/// The name that belongs to `dir`, taken as long as the descriptor is open.
/// Errors: EWOULDBLOCK when a process of root's, or of the same user's, has it;
/// of another user's it is a squatter, who is not to keep the agent from
/// working: then the descriptor is empty.
Result<Fd> take_socket_name(const std::string& dir);

}  // namespace outrider
