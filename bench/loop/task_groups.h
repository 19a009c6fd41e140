// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "agent/base/result.h"
#include "agent/sys/fd.h"

namespace outrider::bench {

/// One task group with a CPU quota, its files kept open.
class TaskGroup {
 public:
  static Result<TaskGroup> make(const std::string& path);
  /// One pwrite.
  Result<> set_quota(const std::string& quota_us) const;
  Result<> add(pid_t pid) const;
  /// Periods in which the group was throttled.
  std::uint64_t throttled() const;

 private:
  Fd quota_;
  Fd stat_;
  Fd procs_;
};

/// A folder of our own for task groups in the v1 cpu tree, where the kernel's
/// CFS bandwidth is the one that cpu.max sets under cgroup v2.
/// Invariant: a process of our own waits for this one's end, however it comes,
/// and then removes the folder and the groups in it.
class TaskGroups {
 public:
  /// Errors: no v1 cpu tree is mounted, or it takes no groups.
  static Result<TaskGroups> make();
  TaskGroups(TaskGroups&& other) noexcept;
  TaskGroups& operator=(TaskGroups&&) = delete;
  TaskGroups(const TaskGroups&) = delete;
  ~TaskGroups();

  /// A group with the kernel's usual period of 100 ms.
  Result<TaskGroup> add(const std::string& name) const;

 private:
  TaskGroups() = default;

  std::string path_;
  Fd alive_;  // closed with the last of us
  pid_t remover_ = -1;
};

}  // namespace outrider::bench
