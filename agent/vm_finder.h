// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "agent/base/result.h"
#include "agent/cgroup.h"
#include "agent/cgroup_watch.h"
#include "agent/config.h"
#include "agent/proc.h"
#include "agent/vm.h"

namespace outrider {

/// Which of the host's processes are VMs to attach to.
/// Invariant: what an operator detached is not proposed again while it lives.
class VmFinder {
 public:
  /// `proc` and `cgroups` (nullptr: none) must outlive it.
  static VmFinder make(const DiscoveryConfig& config, const ProcRoot& proc,
                       const CgroupTree* cgroups);

  /// All of them now; for the start, and after events were lost.
  std::vector<VmIdentity> scan(std::span<const VmIdentity> known);
  /// The process, if it is a VM that is wanted.
  std::optional<VmIdentity> look_at(pid_t pid) const;

  /// -1 where there is no cgroup v2 tree to watch.
  int watch_fd() const;
  /// Takes what the watch has to say; true when a scan is due.
  bool take_changes(Instant now);
  /// New cgroups are looked into until a VM lives there: call it every
  /// FreshCgroups::kPeriod while `is_looking`.
  bool is_looking() const { return !fresh_.empty(); }
  std::vector<VmIdentity> look_into_fresh(Instant now);

  void ignore(const VmIdentity& vm);
  void stop_ignoring(const VmIdentity& vm);

 private:
  VmFinder(const DiscoveryConfig& config, const ProcRoot& proc,
           const CgroupTree* cgroups)
      : config_(config), proc_(proc), cgroups_(cgroups) {}
  bool is_wanted(const VmIdentity& vm) const;

  DiscoveryConfig config_;
  const ProcRoot& proc_;
  const CgroupTree* cgroups_;
  std::optional<CgroupWatch> watch_;
  FreshCgroups fresh_;
  std::vector<VmIdentity> ignored_;
};

}  // namespace outrider
