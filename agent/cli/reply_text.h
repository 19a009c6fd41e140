// SPDX-License-Identifier: Apache-2.0
// Replies of the daemon's that tell what the control loop does, for people.
// Pure; docs/control.md has their shapes.
#pragma once

#include <jansson.h>

#include <cstdint>
#include <string>

namespace outrider {

/// "1.50", with `none` for a cap that is not there (-1).
std::string cpus_text(std::int64_t mcpu, const char* none = "-");

/// A table of settings: VM, knob, old, new, reason; empty if there are none.
std::string writes_text(const json_t* writes);

/// Of the verb "allocations": the host's sums, then a line a VM.
std::string allocations_text(const json_t* reply);

/// Of the verb "explain": from what was seen of a VM to what was written.
std::string explain_text(const json_t* reply);

/// Of the verb "memory": the host's books, then a line a VM.
std::string memory_text(const json_t* reply);
/// What "explain" says of one VM's memory, and of its limits.
std::string vm_memory_text(const json_t* vm);
std::string memory_limits_text(const json_t* limits);

/// Of the verbs that change something, when they were asked with "dry_run".
std::string dry_run_text(const json_t* reply);

}  // namespace outrider
