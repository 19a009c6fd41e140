// SPDX-License-Identifier: Apache-2.0
// Which VMs run on this host, and which threads they have.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "agent/base/result.h"
#include "agent/cgroup.h"
#include "agent/core/sample.h"
#include "agent/proc.h"
#include "agent/sys/fd.h"
#include "agent/vm.h"

namespace outrider {

/// Says which VM the process is. `cgroups` is nullptr on a host without v2.
/// A VM without a cgroup of its own (the root on hybrid hosts) has an empty
/// `cgroup` and `cgroup_id` 0.
/// Errors: ESRCH no such process; EACCES not allowed to look; ENOTTY not a KVM
/// process; EINVAL a thread's number instead of a process's.
Result<VmIdentity> identify(const ProcRoot& proc, const CgroupTree* cgroups,
                            pid_t pid);

/// Gives the VM the cgroup that an operator named for it. Errors: as
/// check_cgroup_path; the identity is then untouched.
Result<> use_cgroup(VmIdentity& identity, const CgroupTree& cgroups,
                    std::string_view path);

/// Whether both are one VM. A UUID decides if both have one.
bool is_same_vm(const VmIdentity& a, const VmIdentity& b);

struct Scan {
  std::vector<VmIdentity> vms;   // sorted by pid
  std::uint32_t unreadable = 0;  // processes that we may not look into
};
/// All KVM processes now. Those in `known` that still run are taken over as
/// they are. `kvm_debug` is KVM's own list of VMs, /sys/kernel/debug/kvm; where
/// that is not to be had (empty, or not mounted), /proc is walked through and
/// each process's first kScanDescriptorsMax descriptors are looked at, which
/// costs some microseconds each.
inline constexpr std::size_t kScanDescriptorsMax = 256;
Result<Scan> scan(const ProcRoot& proc, const CgroupTree* cgroups,
                  const std::string& kvm_debug,
                  std::span<const VmIdentity> known = {});
inline constexpr const char* kKvmDebug = "/sys/kernel/debug/kvm";

/// Processes with KVM in a cgroup or up to two levels below it, sorted. Costs
/// microseconds, so it may be asked often about a cgroup that is new.
std::vector<pid_t> find_kvm_in(const ProcRoot& proc, const CgroupTree& cgroups,
                               const std::string& path);

struct ThreadKind {
  ThreadClass thread_class = ThreadClass::kEmulator;
  std::uint16_t vcpu = 0;  // for ThreadClass::kVcpu

  friend bool operator==(const ThreadKind&, const ThreadKind&) = default;
};
/// What a thread is for, by its name ("CPU 3/KVM", "IO iothread1", "vhost-71")
/// or else its cgroup (".../vcpu3", ".../iothread1"): bare QEMU names none.
ThreadKind classify_thread(std::string_view comm, std::string_view cgroup);

struct VmThread {
  pid_t process = 0;  // whose task directory it is in: itself if of the kernel
  pid_t tid = 0;
  ThreadKind kind;

  friend bool operator==(const VmThread&, const VmThread&) = default;
};
/// Says what one thread of a VM is for: classify_thread, and for a thread that
/// neither tells, whether it is inside KVM_RUN at this moment (a vCPU that runs
/// without pause is not caught by that; ask again).
Result<ThreadKind> read_thread_kind(const ProcRoot& proc, pid_t process,
                                    pid_t tid);
/// The VM's vhost workers that are threads of the kernel (before 6.4; later
/// ones are threads of the process): "vhost-TID" in the VM's cgroup, or, for a
/// VM without one, anywhere: that walk through /proc is made only if the VM has
/// a vhost descriptor.
std::vector<VmThread> list_vhost_threads(const ProcRoot& proc,
                                         const CgroupTree* cgroups,
                                         const VmIdentity& vm,
                                         std::span<const pid_t> tasks);
/// All threads of the VM: those of the process, then its vhost workers.
/// Errors: ESRCH the process is gone.
Result<std::vector<VmThread>> list_vm_threads(const ProcRoot& proc,
                                              const CgroupTree* cgroups,
                                              const VmIdentity& vm);

/// Tells when a VM's process ends: its descriptor is then readable (EPOLLIN).
/// Invariant: refers to that very process, whoever gets its pid afterwards.
class ProcessWatch {
 public:
  /// Errors: ESRCH it has ended already, or its pid is another process's now.
  static Result<ProcessWatch> open(const ProcRoot& proc, const VmIdentity& vm);
  int fd() const { return pidfd_.get(); }
  bool has_ended() const;

 private:
  explicit ProcessWatch(Fd pidfd) : pidfd_(std::move(pidfd)) {}
  Fd pidfd_;
};

}  // namespace outrider
