// SPDX-License-Identifier: Apache-2.0
// What every subcommand does: ask outriderd one thing, and say what is wrong.
#pragma once

#include <fmt/core.h>

#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <utility>

#include "agent/base/result.h"
#include "agent/cli/exit_code.h"
#include "agent/control_client.h"
#include "agent/json.h"

namespace outrider {

/// What was wrong, and the exit code that says so.
struct Failure {
  ExitCode code = kExitError;
  std::string what;
};
template <class T>
using Answer = tl::expected<T, Failure>;

/// Prints "outrider: ..." to stderr; gives the exit code back.
int complain(const Failure& failure);
/// The same of what went wrong here, with the system's own words for it.
int complain_of(const Error& error);

Answer<ControlClient> connect_to_daemon(const std::string& socket);
/// The next line; a refusal of the daemon's is a Failure with its code.
Answer<ControlReply> receive_reply(ControlClient& client, Duration patience);
Answer<ControlReply> ask(ControlClient& client, std::string_view request);
Answer<ControlReply> ask(const std::string& socket, std::string_view request);

/// Prints to stdout. False: nobody reads it any more.
bool put(std::string_view text);

// Members of a reply; empty, 0 or false when they are not there. Texts may
// come from guests: they are escaped, fit for a terminal.
std::string text_at(const json_t* object, const char* name);
std::int64_t count_at(const json_t* object, const char* name);

}  // namespace outrider
