// SPDX-License-Identifier: Apache-2.0
// Which cgroup holds a VM's memory, and what limits it there: off the tick.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "agent/base/result.h"
#include "agent/base/units.h"
#include "agent/cgroup.h"
#include "agent/memory_files.h"
#include "agent/proc.h"
#include "agent/vm.h"

namespace outrider {

/// One limit of a VM: kNoMemoryLimit is "max".
struct MemoryLimit {
  Bytes own{};
  Bytes effective{};    // the least along the path to below the root
  std::string binding;  // the lowest cgroup that has it

  friend bool operator==(const MemoryLimit&, const MemoryLimit&) = default;
};

/// A limit that this kernel does not have is missing (zswap.max came with
/// 5.19, and swap.max needs CONFIG_SWAP).
struct MemoryLimits {
  std::string cgroup;  // that the VM's memory is charged to
  // What protects: no more than every ancestor gives. Where cgroup2 is mounted
  // with memory_recursiveprot, a group with less of its own may get more of
  // what its parent has left; siblings that ask for more than that share it.
  std::optional<MemoryLimit> min;
  std::optional<MemoryLimit> low;
  std::optional<MemoryLimit> high;
  std::optional<MemoryLimit> max;
  std::optional<MemoryLimit> swap_max;
  std::optional<MemoryLimit> zswap_max;
};

/// The nearest group, from the VM's own upwards, that has memory.current: a
/// threaded group has none, as its memory is charged to the group above.
/// Errors: ENOENT no group of its own, or none with the memory controller;
/// EBUSY that group holds another VM as well; ESTALE the path is another
/// group's by now.
Result<std::string> find_memory_cgroup(const ProcRoot& proc,
                                       const CgroupTree& tree,
                                       const VmIdentity& vm);

/// Ids of `cgroup` and of those up to two levels below it that memory is
/// charged to, kMemoryCgroupsMax at most. Empty: it is gone.
inline constexpr std::size_t kMemoryCgroupsMax = 16;
std::vector<std::uint64_t> list_memory_cgroups(const CgroupTree& tree,
                                               const std::string& cgroup);

/// Errors: `cgroup` is gone; a file is malformed.
Result<MemoryLimits> read_memory_limits(const CgroupTree& tree,
                                        const std::string& cgroup);

}  // namespace outrider
