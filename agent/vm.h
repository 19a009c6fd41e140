// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "agent/base/units.h"

namespace outrider {

enum class VmOrigin : std::uint8_t {
  kLibvirt,   // machine.slice/machine-qemu\x2d...scope
  kProxmox,   // qemu.slice/ID.scope
  kProcess,   // any other process that has a KVM descriptor
  kOperator,  // `outrider vm attach`
};

/// Which VM this is, as far as the host can tell. A VM is the same as one seen
/// before if the UUID is, or, without UUIDs, if cgroup id, pid and start time
/// are: pids and cgroup names are reused, these are not.
struct VmIdentity {
  pid_t pid = 0;
  std::uint64_t start_ticks = 0;  // /proc/PID/stat field 22
  std::string name;             // -name guest=, the scope's name, or "pid-PID"
  std::string uuid;             // empty when unknown
  std::string cgroup;           // path below the cgroup v2 mount, "/a/b"
  std::uint64_t cgroup_id = 0;  // inode number of the cgroup's directory
  VmOrigin origin = VmOrigin::kProcess;

  friend bool operator==(const VmIdentity&, const VmIdentity&) = default;
};

/// An attached VM.
struct Vm {
  VmId id{};
  VmIdentity identity;
  Instant attached{};
};

}  // namespace outrider
