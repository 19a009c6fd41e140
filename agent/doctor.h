// SPDX-License-Identifier: Apache-2.0
// What this host can do for Outrider, what is missing, and what that costs.
// Needs no daemon; as root it sees all, otherwise it says what it could not.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "agent/base/result.h"

namespace outrider {

enum class DoctorState : std::uint8_t {
  kOk,
  kDegraded,  // works, with a loss
  kMissing,   // does not work
  kUnknown,   // could not be seen from here
};
const char* to_text(DoctorState state);

struct DoctorLine {
  std::string area;  // "kernel", "cgroup", ...
  std::string what;  // "BTF"
  DoctorState state = DoctorState::kOk;
  std::string found;
  std::string cost;    // what that costs; empty when ok
  std::string advice;  // what to do; empty when ok or when nothing helps
};

struct DoctorReport {
  std::string kernel;             // release
  std::vector<DoctorLine> lines;  // by area
};

/// Where the host's files are; tests point it at a tree of their own.
struct HostPaths {
  std::string proc = "/proc";
  std::string sys = "/sys";
  std::string dev = "/dev";
  std::string cgroup2;  // empty: as /proc/self/mounts says
};

/// What can only be known by trying.
struct HostCalls {
  std::string (*kernel_release)() = nullptr;
  /// bpf(BPF_MAP_CREATE) of a small map of that type, closed again.
  Result<> (*create_bpf_map)(std::uint32_t map_type) = nullptr;
  /// SCHED_FIFO 1 in a child that ends at once.
  Result<> (*try_loop_priority)() = nullptr;
  /// One line for each BPF program.
  std::vector<DoctorLine> (*probe_programs)() = nullptr;
  std::vector<DoctorLine> (*probe_memory_programs)() = nullptr;
};
HostCalls real_host_calls();

DoctorReport probe_host(const HostPaths& paths, const HostCalls& calls);
inline DoctorReport probe_host() {
  return probe_host(HostPaths{}, real_host_calls());
}

/// 0 when all is ok, 3 when anything is not.
int doctor_exit_code(const DoctorReport& report);
/// For people: aligned columns, cost and advice below what is not ok, and a
/// last line that sums up.
std::string doctor_table(const DoctorReport& report);
/// One JSON object, `schema` 1.
std::string doctor_json(const DoctorReport& report);

}  // namespace outrider
