// SPDX-License-Identifier: Apache-2.0
// The cgroup v2 tree, read only. Paths below the mount are written "/a/b".
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/base/result.h"
#include "agent/proc.h"
#include "agent/sys/fd.h"

namespace outrider {

enum class CgroupMode : std::uint8_t {
  kNone,
  kV1,       // no v2 mount
  kHybrid,   // a v2 mount beside v1 controllers
  kUnified,  // v2 holds every controller
};

struct CgroupMounts {
  CgroupMode mode = CgroupMode::kNone;
  std::string v2;                           // mount point; empty: none
  std::vector<std::string> v1_controllers;  // bound to v1, sorted
};
/// `mounts`: the text of /proc/PID/mounts.
CgroupMounts parse_cgroup_mounts(std::string_view mounts);
Result<CgroupMounts> read_cgroup_mounts(const ProcRoot& proc);

/// The v2 tree, or one that looks like it. Invariant: the directory is open.
class CgroupTree {
 public:
  static Result<CgroupTree> open(const std::string& mount);
  int fd() const { return dir_.get(); }
  const std::string& mount() const { return mount_; }

 private:
  CgroupTree(Fd dir, std::string mount)
      : dir_(std::move(dir)), mount_(std::move(mount)) {}
  Fd dir_;
  std::string mount_;
};

/// Opens the host's v2 mount and asks statfs whether it is one: a mount table
/// also lists what another mount hides. Errors: ENOENT when there is none.
Result<CgroupTree> open_host_cgroups(const ProcRoot& proc);

/// `path` as an operator may write it (below the mount, or with the mount in
/// front) as "/a/b". Errors: "..", the root, no such cgroup.
Result<std::string> check_cgroup_path(const CgroupTree& tree,
                                      std::string_view path);

/// "/a/b" as a name to open below the tree's descriptor.
std::string below(std::string_view path, std::string_view file);

/// The kernel's id of a cgroup: the inode number of its directory. Never used
/// again until the host restarts, unlike its path.
Result<std::uint64_t> read_cgroup_id(const CgroupTree& tree,
                                     const std::string& path);
Result<std::vector<std::string>> list_child_cgroups(const CgroupTree& tree,
                                                    const std::string& path);
/// Numbers in cgroup.procs or cgroup.threads.
Result<std::vector<pid_t>> read_members(const CgroupTree& tree,
                                        const std::string& path,
                                        std::string_view file);
/// Words of cgroup.controllers or cgroup.subtree_control.
Result<std::vector<std::string>> read_words(const CgroupTree& tree,
                                            const std::string& path,
                                            std::string_view file);

struct CpuStat {
  std::uint64_t usage_ns = 0;
  std::uint64_t throttled_ns = 0;  // summed over CPUs
  std::uint64_t throttled_count = 0;
  bool has_throttling = false;  // false: no cpu controller here
};
std::optional<CpuStat> parse_cpu_stat(std::string_view text);

/// cpu.stat of one cgroup, kept open. Invariant: belongs to that very cgroup;
/// after its removal `read` fails with ENODEV for ever.
class CpuStatFile {
 public:
  static Result<CpuStatFile> open(const CgroupTree& tree,
                                  const std::string& path);
  Result<CpuStat> read() const;

 private:
  explicit CpuStatFile(Fd file) : file_(std::move(file)) {}
  Fd file_;
};

}  // namespace outrider
