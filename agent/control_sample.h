// SPDX-License-Identifier: Apache-2.0
// A Sample as JSON, both ways. It may be streamed every 10 ms for tens of VMs,
// so a VM, a thread or a vCPU is one row of numbers; "columns" names them.
//
//   "taken_ns": 5000000000, "lost": 0,
//   "columns": {"vms": ["id", ...], "threads": ["id", ...], ...},
//   "vms": [[7, ...], ...], "threads": [[41, ...], ...], ...
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "agent/base/result.h"
#include "agent/core/sample.h"
#include "agent/json.h"
#include "agent/vm.h"

namespace outrider {

/// Adds the Sample's members to the object that `json` is in.
void write_sample(JsonText& json, const Sample& sample);

/// Adds "columns" and who the VMs are; they change only when VMs come or go.
void write_identities(JsonText& json, std::span<const Vm> vms);

/// One VM as an object, without key.
void write_identity(JsonText& json, const Vm& vm);

/// From the object of one line. Errors: what is missing or out of range; other
/// columns than ours. A Sample given back keeps Sample's bounds: every VM's
/// threads and vCPUs are there.
Result<Sample> parse_sample(const json_t* line);

bool has_identities(const json_t* line);
Result<std::vector<Vm>> parse_identities(const json_t* line);

std::string_view origin_name(VmOrigin origin);

}  // namespace outrider
