// SPDX-License-Identifier: Apache-2.0
// Shared by the parts of the doctor.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "agent/cgroup.h"
#include "agent/discovery.h"
#include "agent/doctor.h"
#include "agent/proc.h"
#include "agent/sys/fd.h"

namespace outrider {

/// What the doctor looks at. Invariant: `proc` and `sys` are open.
struct DoctorHost {
  const HostPaths& paths;
  const HostCalls& calls;
  ProcRoot proc;
  Fd sys;
  CgroupMounts mounts;
  std::optional<CgroupTree> cgroups;
  std::string cgroup_error;        // why there is no `cgroups`
  std::uint64_t capabilities = 0;  // effective
  bool is_root = false;
  Scan vms;

  bool has_capability(int number) const;
  bool has_sys(const std::string& path) const;
};

inline DoctorLine ok_line(std::string area, std::string what,
                          std::string found) {
  return {std::move(area),
          std::move(what),
          DoctorState::kOk,
          std::move(found),
          "",
          ""};
}

void add_kernel_lines(const DoctorHost& host, std::vector<DoctorLine>& lines);
void add_bpf_lines(const DoctorHost& host, std::vector<DoctorLine>& lines);
void add_kvm_lines(const DoctorHost& host, std::vector<DoctorLine>& lines);
void add_loop_lines(const DoctorHost& host, std::vector<DoctorLine>& lines);
void add_cgroup_lines(const DoctorHost& host, std::vector<DoctorLine>& lines);
void add_pressure_lines(const DoctorHost& host, std::vector<DoctorLine>& lines);
void add_memory_lines(const DoctorHost& host, std::vector<DoctorLine>& lines);
void add_vm_lines(const DoctorHost& host, std::vector<DoctorLine>& lines);

}  // namespace outrider
