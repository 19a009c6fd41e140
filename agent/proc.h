// SPDX-License-Identifier: Apache-2.0
// Readers of /proc. `read_` touches the world; `parse_` does not.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/base/result.h"
#include "agent/sys/fd.h"

namespace outrider {

/// /proc, or a tree that looks like it. Invariant: the directory is open.
class ProcRoot {
 public:
  static Result<ProcRoot> open(const std::string& path = "/proc");
  int fd() const { return dir_.get(); }

 private:
  explicit ProcRoot(Fd dir) : dir_(std::move(dir)) {}
  Fd dir_;
};

/// The file's text, at most `bytes_max` of it.
Result<std::string> read_text_at(int dir, const std::string& path,
                                 std::size_t bytes_max);
/// Names in a directory, "." and ".." left out.
Result<std::vector<std::string>> list_names_at(int dir,
                                               const std::string& path);
/// Likewise, directories only.
Result<std::vector<std::string>> list_directories_at(int dir,
                                                     const std::string& path);
/// A whole decimal number; nothing else may follow.
std::optional<std::uint64_t> parse_number(std::string_view text);
/// The pieces between any of `separators`; empty pieces are left out.
std::vector<std::string_view> split(std::string_view text,
                                    std::string_view separators);

/// From /proc/PID/stat.
struct ProcStat {
  std::string comm;
  char state = '?';
  std::uint32_t flags = 0;  // PF_*
  std::uint32_t thread_count = 0;
  std::uint64_t start_ticks = 0;

  bool is_kernel_thread() const { return (flags & 0x00200000U) != 0; }
  // A kernel's worker that is a thread of the process (6.4 on): vhost, KVM.
  bool is_user_worker() const { return (flags & 0x00004000U) != 0; }
};
std::optional<ProcStat> parse_stat(std::string_view text);
/// Errors: ESRCH "no such process".
Result<ProcStat> read_stat(const ProcRoot& proc, pid_t pid);
/// Gone, or a zombie that nobody has waited for.
bool has_ended(const ProcRoot& proc, pid_t pid);

/// From /proc/PID/task/TID/status.
struct TaskStatus {
  pid_t tgid = 0;
  char state = '?';
  std::uint64_t voluntary_switches = 0;  // how often it went to sleep
};
std::optional<TaskStatus> parse_status(std::string_view text);

/// From /proc/PID/task/TID/schedstat. The kernel adds a wait when it ends.
struct SchedStat {
  std::uint64_t run_ns = 0;
  std::uint64_t wait_ns = 0;
  std::uint64_t slices = 0;  // times it was given a CPU

  friend bool operator==(const SchedStat&, const SchedStat&) = default;
};
std::optional<SchedStat> parse_schedstat(std::string_view text);

/// From /proc/PID/cgroup.
struct ProcCgroup {
  std::string v2;          // the "0::" line; empty when there is none
  std::string v1_systemd;  // "name=systemd", on v1 and hybrid hosts
  std::string v1_cpu;      // the v1 cpu controller
};
ProcCgroup parse_proc_cgroup(std::string_view text);
Result<ProcCgroup> read_proc_cgroup(const ProcRoot& proc, pid_t pid);

/// The arguments the process was started with.
Result<std::vector<std::string>> read_cmdline(const ProcRoot& proc, pid_t pid);

/// Processes, in rising order. Kernel threads are among them.
Result<std::vector<pid_t>> list_processes(const ProcRoot& proc);
/// Threads of a process, in rising order.
Result<std::vector<pid_t>> list_tasks(const ProcRoot& proc, pid_t pid);

/// Whether the process has a descriptor of such a file, e.g. "/dev/vhost-net",
/// among its first `descriptors_max`. Stops at the first.
/// Errors: ESRCH; EACCES (needs root and CAP_SYS_PTRACE).
Result<bool> has_descriptor(const ProcRoot& proc, pid_t pid,
                            std::string_view target,
                            std::size_t descriptors_max = SIZE_MAX);
/// Whether the process holds a VM: a descriptor "anon_inode:kvm-vm".
Result<bool> has_kvm(const ProcRoot& proc, pid_t pid,
                     std::size_t descriptors_max = SIZE_MAX);

}  // namespace outrider
