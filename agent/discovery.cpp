// SPDX-License-Identifier: Apache-2.0
#include "agent/discovery.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <limits>

#include "agent/identity.h"

namespace outrider {
namespace {

constexpr std::string_view kVhost = "vhost-";

Result<> check_is_process(const ProcRoot& proc, pid_t pid) {
  const std::string who = "process " + std::to_string(pid);
  auto text = read_text_at(proc.fd(), std::to_string(pid) + "/status", 8192);
  if (!text) return fail(ESRCH, who + ": no such process");
  auto status = parse_status(*text);
  if (!status) return fail(0, who + ": status is malformed");
  if (status->tgid != pid) {
    return fail(EINVAL, std::to_string(pid) + " is a thread of process " +
                            std::to_string(status->tgid) + ": name that one");
  }
  return {};
}

Result<> check_has_kvm(const ProcRoot& proc, pid_t pid) {
  auto kvm = has_kvm(proc, pid);
  if (!kvm) return tl::unexpected<Error>(kvm.error());
  if (!*kvm) {
    return fail(ENOTTY,
                "process " + std::to_string(pid) +
                    ": not a KVM process (it has no kvm-vm descriptor)");
  }
  return {};
}

// Threads that a launcher moved to threaded cgroups: the VM's own is above.
std::string above_threaded(const CgroupTree& cgroups, std::string path) {
  while (path.rfind('/') != 0 && path.rfind('/') != std::string::npos) {
    auto type = read_words(cgroups, path, "cgroup.type");
    if (!type || type->size() != 1 || type->front() != "threaded") break;
    path.resize(path.rfind('/'));
  }
  return path;
}

void take_place(VmIdentity& vm, const CgroupTree* cgroups,
                const ProcCgroup& where) {
  const CgroupPlace place = place_of(where.v2);
  vm.origin = place.origin;
  vm.name = place.name;
  if (cgroups != nullptr && !place.cgroup.empty()) {
    vm.cgroup = place.origin == VmOrigin::kProcess
                    ? above_threaded(*cgroups, place.cgroup)
                    : place.cgroup;
    auto id = read_cgroup_id(*cgroups, vm.cgroup);
    if (id) vm.cgroup_id = *id;
    if (!id) vm.cgroup.clear();  // outside our cgroup namespace, or gone
  }
  if (vm.origin != VmOrigin::kProcess) return;
  // v1 and hybrid hosts: systemd's own hierarchy tells launcher and name.
  const CgroupPlace v1 = place_of(where.v1_systemd);
  if (v1.origin == VmOrigin::kProcess) return;
  vm.origin = v1.origin;
  vm.name = v1.name;
}

void take_names(VmIdentity& vm, const QemuNames& names) {
  vm.uuid = names.uuid;
  if (!names.name.empty()) {
    vm.name = names.name;
  } else if (vm.name.empty() && !names.id.empty()) {
    vm.name = names.id;
  } else if (vm.name.empty()) {
    vm.name = "pid-" + std::to_string(vm.pid);
  }
}

bool contains(std::span<const pid_t> sorted, pid_t pid) {
  return std::binary_search(sorted.begin(), sorted.end(), pid);
}

// The thread that made a vhost worker, from its name; 0 when it is none.
pid_t vhost_owner(std::string_view comm) {
  if (comm.rfind(kVhost, 0) != 0) return 0;
  const auto owner = parse_number(comm.substr(kVhost.size()));
  return static_cast<pid_t>(owner.value_or(0));
}

std::vector<std::string> with_children(const CgroupTree& cgroups,
                                       const std::string& path, int depth) {
  std::vector<std::string> paths{path};
  if (depth == 0) return paths;
  auto children = list_child_cgroups(cgroups, path);
  if (!children) return paths;
  for (const std::string& child : *children) {
    std::string below_it = path;
    below_it.append("/").append(child);
    auto more = with_children(cgroups, below_it, depth - 1);
    paths.insert(paths.end(), more.begin(), more.end());
  }
  return paths;
}

bool uses_vhost(const ProcRoot& proc, pid_t pid) {
  constexpr std::array<std::string_view, 3> kDevices{
      "/dev/vhost-net", "/dev/vhost-vsock", "/dev/vhost-scsi"};
  return std::any_of(kDevices.begin(), kDevices.end(),
                     [&](std::string_view device) {
                       return has_descriptor(proc, pid, device).value_or(false);
                     });
}

// Where the kernel threads of a VM may be: those of its cgroups, or any.
std::vector<pid_t> vhost_candidates(const ProcRoot& proc,
                                    const CgroupTree* cgroups,
                                    const VmIdentity& vm) {
  if (cgroups == nullptr || vm.cgroup.empty()) {
    if (!uses_vhost(proc, vm.pid)) return {};
    return list_processes(proc).value_or(std::vector<pid_t>{});
  }
  std::vector<pid_t> all;
  for (const std::string& path : with_children(*cgroups, vm.cgroup, 1)) {
    auto some = read_members(*cgroups, path, "cgroup.threads");
    if (some) all.insert(all.end(), some->begin(), some->end());
  }
  return all;
}

std::uint16_t as_vcpu(std::uint64_t number) {
  constexpr std::uint64_t kMax = std::numeric_limits<std::uint16_t>::max();
  return static_cast<std::uint16_t>(std::min(number, kMax));
}

// "71-12" in KVM's list is descriptor 12 of thread 71, which made the VM. It
// may have been handed on since, or be another pid namespace's.
std::optional<pid_t> owner_of_entry(const ProcRoot& proc,
                                    std::string_view entry) {
  const std::size_t dash = entry.find('-');
  const auto tid = parse_number(entry.substr(0, dash));
  if (!tid || dash == std::string_view::npos) return std::nullopt;
  const std::string thread = std::to_string(*tid);
  auto text = read_text_at(proc.fd(), thread + "/status", 8192);
  if (!text) return std::nullopt;
  const auto status = parse_status(*text);
  if (!status) return std::nullopt;
  std::array<char, 32> link{};
  const std::string descriptor =
      (thread + "/fd/").append(entry.substr(dash + 1));
  const ssize_t length =
      ::readlinkat(proc.fd(), descriptor.c_str(), link.data(), link.size());
  const bool is_there =
      length > 0 &&
      std::string_view{link.data(), static_cast<std::size_t>(length)} ==
          "anon_inode:kvm-vm";
  if (is_there || has_kvm(proc, status->tgid).value_or(false)) {
    return status->tgid;
  }
  return std::nullopt;
}

// nullopt: there is no list, it is empty, or nothing in it is as it should be.
std::optional<std::vector<pid_t>> list_by_kvm(const ProcRoot& proc,
                                              const std::string& kvm_debug) {
  auto entries = list_directories_at(AT_FDCWD, kvm_debug);
  if (!entries) return std::nullopt;
  std::vector<pid_t> pids;
  for (const std::string& entry : *entries) {
    const auto pid = owner_of_entry(proc, entry);
    if (pid) pids.push_back(*pid);
  }
  if (pids.empty()) return std::nullopt;
  std::sort(pids.begin(), pids.end());
  pids.erase(std::unique(pids.begin(), pids.end()), pids.end());
  return pids;
}

// The one of `known` that the process is, by its start time too.
const VmIdentity* find_known(std::span<const VmIdentity> known, pid_t pid,
                             const ProcStat& stat) {
  const auto found =
      std::find_if(known.begin(), known.end(), [&](const VmIdentity& vm) {
        return vm.pid == pid && vm.start_ticks == stat.start_ticks;
      });
  return found == known.end() ? nullptr : &*found;
}

std::vector<pid_t> walk_for_kvm(const ProcRoot& proc,
                                std::span<const pid_t> processes,
                                std::span<const VmIdentity> known,
                                std::uint32_t& unreadable) {
  std::vector<pid_t> pids;
  for (const pid_t pid : processes) {
    const bool may_be_known =
        std::any_of(known.begin(), known.end(),
                    [pid](const VmIdentity& vm) { return vm.pid == pid; });
    if (may_be_known) {
      auto stat = read_stat(proc, pid);
      if (stat && find_known(known, pid, *stat) != nullptr) {
        pids.push_back(pid);
        continue;
      }
    }
    // Kernel threads have no descriptors, so they cost no more than this.
    auto kvm = has_kvm(proc, pid, kScanDescriptorsMax);
    if (!kvm && kvm.error().code == EACCES) ++unreadable;
    if (kvm.value_or(false)) pids.push_back(pid);
  }
  return pids;
}

// "CPU 3/KVM" -> 3.
std::optional<std::uint64_t> vcpu_in_name(std::string_view comm) {
  constexpr std::string_view kStart = "CPU ";
  constexpr std::string_view kEnd = "/KVM";
  if (comm.size() <= kStart.size() + kEnd.size()) return std::nullopt;
  if (comm.substr(0, kStart.size()) != kStart) return std::nullopt;
  if (comm.substr(comm.size() - kEnd.size()) != kEnd) return std::nullopt;
  return parse_number(
      comm.substr(kStart.size(), comm.size() - kStart.size() - kEnd.size()));
}

// /proc/TID/syscall of a thread blocked in KVM_RUN: "16 0x1b 0xae80 ...",
// where 0x1b is a descriptor "anon_inode:kvm-vcpu:3". A worker that KVM made in
// a vCPU's first KVM_RUN (kvm-nx-lpage-recovery) shows that vCPU's registers.
std::optional<std::uint16_t> vcpu_by_syscall(const ProcRoot& proc,
                                             pid_t process, pid_t tid) {
  const std::string task =
      std::to_string(process) + "/task/" + std::to_string(tid);
  auto text = read_text_at(proc.fd(), task + "/syscall", 256);
  if (!text) return std::nullopt;
  const auto words = split(*text, " \n");
  if (words.size() < 3 || words[0] != std::to_string(SYS_ioctl) ||
      words[2] != "0xae80" || words[1].rfind("0x", 0) != 0) {
    return std::nullopt;
  }
  const std::string hex{words[1].substr(2)};
  const auto number = std::strtoul(hex.c_str(), nullptr, 16);
  const std::string link =
      std::to_string(process) + "/fd/" + std::to_string(number);
  std::array<char, 64> target{};
  const ssize_t length =
      ::readlinkat(proc.fd(), link.c_str(), target.data(), target.size());
  if (length < 0) return std::nullopt;
  const std::string_view name{target.data(), static_cast<std::size_t>(length)};
  constexpr std::string_view kVcpu = "anon_inode:kvm-vcpu:";
  if (name.rfind(kVcpu, 0) != 0) return std::nullopt;
  const auto vcpu = parse_number(name.substr(kVcpu.size()));
  if (!vcpu) return std::nullopt;
  auto stat_text = read_text_at(proc.fd(), task + "/stat", 4096);
  const auto stat = stat_text ? parse_stat(*stat_text) : std::nullopt;
  if (!stat || stat->is_user_worker()) return std::nullopt;
  return as_vcpu(*vcpu);
}

// Of a process that is known to be a VM's.
Result<VmIdentity> describe(const ProcRoot& proc, const CgroupTree* cgroups,
                            const ProcStat& stat, pid_t pid) {
  auto where = read_proc_cgroup(proc, pid);
  if (!where) return tl::unexpected<Error>(where.error());
  auto arguments = read_cmdline(proc, pid);
  if (!arguments) return tl::unexpected<Error>(arguments.error());
  VmIdentity vm;
  vm.pid = pid;
  vm.start_ticks = stat.start_ticks;
  take_place(vm, cgroups, *where);
  take_names(vm, parse_qemu_cmdline(*arguments));
  // All of it is of one process only if that is still the same.
  auto after = read_stat(proc, pid);
  if (!after) return tl::unexpected<Error>(after.error());
  if (after->start_ticks != vm.start_ticks) {
    return fail(ESRCH, "process " + std::to_string(pid) + ": no such process");
  }
  return vm;
}

}  // namespace

Result<VmIdentity> identify(const ProcRoot& proc, const CgroupTree* cgroups,
                            pid_t pid) {
  auto is_process = check_is_process(proc, pid);
  if (!is_process) return tl::unexpected<Error>(is_process.error());
  auto stat = read_stat(proc, pid);
  if (!stat) return tl::unexpected<Error>(stat.error());
  auto kvm = check_has_kvm(proc, pid);
  if (!kvm) return tl::unexpected<Error>(kvm.error());
  return describe(proc, cgroups, *stat, pid);
}

Result<> use_cgroup(VmIdentity& identity, const CgroupTree& cgroups,
                    std::string_view path) {
  auto clean = check_cgroup_path(cgroups, path);
  if (!clean) return tl::unexpected<Error>(clean.error());
  auto id = read_cgroup_id(cgroups, *clean);
  if (!id) return pass(id, "cgroup");
  identity.cgroup = *std::move(clean);
  identity.cgroup_id = *id;
  return {};
}

bool is_same_vm(const VmIdentity& a, const VmIdentity& b) {
  if (!a.uuid.empty() && !b.uuid.empty()) return a.uuid == b.uuid;
  return a.pid == b.pid && a.start_ticks == b.start_ticks &&
         a.cgroup_id == b.cgroup_id;
}

Result<Scan> scan(const ProcRoot& proc, const CgroupTree* cgroups,
                  const std::string& kvm_debug,
                  std::span<const VmIdentity> known) {
  Scan scan;
  auto pids = list_by_kvm(proc, kvm_debug);
  if (!pids) {
    auto processes = list_processes(proc);
    if (!processes) return pass(processes, "scan");
    pids = walk_for_kvm(proc, *processes, known, scan.unreadable);
  }
  for (const pid_t pid : *pids) {
    auto stat = read_stat(proc, pid);
    if (!stat) continue;  // it has ended meanwhile
    if (const VmIdentity* vm = find_known(known, pid, *stat)) {
      scan.vms.push_back(*vm);
      continue;
    }
    auto vm = describe(proc, cgroups, *stat, pid);
    if (vm) scan.vms.push_back(*std::move(vm));
  }
  return scan;
}

std::vector<pid_t> find_kvm_in(const ProcRoot& proc, const CgroupTree& cgroups,
                               const std::string& path) {
  std::vector<pid_t> pids;
  for (const std::string& cgroup : with_children(cgroups, path, 2)) {
    // Fails for a threaded cgroup; the one above it lists the process.
    auto some = read_members(cgroups, cgroup, "cgroup.procs");
    if (some) pids.insert(pids.end(), some->begin(), some->end());
  }
  std::sort(pids.begin(), pids.end());
  pids.erase(std::unique(pids.begin(), pids.end()), pids.end());
  const auto no_kvm = [&proc](pid_t pid) {
    return !has_kvm(proc, pid).value_or(false);
  };
  pids.erase(std::remove_if(pids.begin(), pids.end(), no_kvm), pids.end());
  return pids;
}

ThreadKind classify_thread(std::string_view comm, std::string_view cgroup) {
  if (const auto vcpu = vcpu_in_name(comm)) {
    return {ThreadClass::kVcpu, as_vcpu(*vcpu)};
  }
  if (comm.rfind("IO ", 0) == 0) return {ThreadClass::kIothread, 0};
  if (vhost_owner(comm) != 0) return {ThreadClass::kVhost, 0};
  const std::size_t slash = cgroup.rfind('/');
  const std::string_view leaf =
      slash == std::string_view::npos ? cgroup : cgroup.substr(slash + 1);
  if (leaf.rfind("vcpu", 0) == 0) {
    const auto vcpu = parse_number(leaf.substr(4));
    if (vcpu) return {ThreadClass::kVcpu, as_vcpu(*vcpu)};
  }
  if (leaf.rfind("iothread", 0) == 0 && parse_number(leaf.substr(8))) {
    return {ThreadClass::kIothread, 0};
  }
  return {};
}

Result<ThreadKind> read_thread_kind(const ProcRoot& proc, pid_t process,
                                    pid_t tid) {
  const std::string task =
      std::to_string(process) + "/task/" + std::to_string(tid);
  auto comm = read_text_at(proc.fd(), task + "/comm", 64);
  if (!comm) return pass(comm, "thread");
  while (!comm->empty() && comm->back() == '\n') comm->pop_back();
  ThreadKind kind = classify_thread(*comm, "");
  if (kind.thread_class != ThreadClass::kEmulator) return kind;
  auto cgroup = read_text_at(proc.fd(), task + "/cgroup", 16UL * 1024);
  if (cgroup) kind = classify_thread(*comm, parse_proc_cgroup(*cgroup).v2);
  if (kind.thread_class != ThreadClass::kEmulator) return kind;
  if (const auto vcpu = vcpu_by_syscall(proc, process, tid)) {
    kind = {ThreadClass::kVcpu, *vcpu};
  }
  return kind;
}

std::vector<VmThread> list_vhost_threads(const ProcRoot& proc,
                                         const CgroupTree* cgroups,
                                         const VmIdentity& vm,
                                         std::span<const pid_t> tasks) {
  std::vector<VmThread> threads;
  for (const pid_t tid : vhost_candidates(proc, cgroups, vm)) {
    if (contains(tasks, tid)) continue;
    auto comm = read_text_at(proc.fd(), std::to_string(tid) + "/comm", 64);
    if (!comm) continue;
    while (!comm->empty() && comm->back() == '\n') comm->pop_back();
    const pid_t owner = vhost_owner(*comm);
    if (owner == 0 || !contains(tasks, owner)) continue;
    // A process may call itself so; only the kernel's own are believed.
    auto stat = read_stat(proc, tid);
    if (!stat || !stat->is_kernel_thread()) continue;
    threads.push_back({tid, tid, {ThreadClass::kVhost, 0}});
  }
  return threads;
}

Result<std::vector<VmThread>> list_vm_threads(const ProcRoot& proc,
                                              const CgroupTree* cgroups,
                                              const VmIdentity& vm) {
  auto tasks = list_tasks(proc, vm.pid);
  if (!tasks) return tl::unexpected<Error>(tasks.error());
  std::vector<VmThread> threads;
  for (const pid_t tid : *tasks) {
    auto kind = read_thread_kind(proc, vm.pid, tid);
    if (kind) threads.push_back({vm.pid, tid, *kind});  // else it has ended
  }
  auto vhosts = list_vhost_threads(proc, cgroups, vm, *tasks);
  threads.insert(threads.end(), vhosts.begin(), vhosts.end());
  return threads;
}

Result<ProcessWatch> ProcessWatch::open(const ProcRoot& proc,
                                        const VmIdentity& vm) {
  // Close-on-exec by itself; since Linux 5.3.
  Fd pidfd{static_cast<int>(::syscall(SYS_pidfd_open, vm.pid, 0U))};
  if (!pidfd) return fail(errno, "pidfd_open " + std::to_string(vm.pid));
  auto stat = read_stat(proc, vm.pid);
  if (!stat) return tl::unexpected<Error>(stat.error());
  if (stat->start_ticks != vm.start_ticks) {
    return fail(ESRCH,
                "process " + std::to_string(vm.pid) + ": no such process");
  }
  return ProcessWatch{std::move(pidfd)};
}

bool ProcessWatch::has_ended() const {
  pollfd poll_fd{.fd = pidfd_.get(), .events = POLLIN, .revents = 0};
  return ::poll(&poll_fd, 1, 0) == 1;
}

}  // namespace outrider
