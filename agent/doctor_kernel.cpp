// SPDX-License-Identifier: Apache-2.0
// The doctor's lines about the kernel: its version, BPF, KVM, the scheduler.
#include <linux/bpf.h>
#include <linux/capability.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "agent/doctor_host.h"

namespace outrider {
namespace {

using enum DoctorState;

// The generations that the tests run on: 6.1, 6.12 and 6.18.
constexpr std::pair<std::uint64_t, std::uint64_t> kTestedFrom{6, 1};
constexpr std::pair<std::uint64_t, std::uint64_t> kRingBufferFrom{5, 8};

constexpr const char* kFilesMode =
    "no BPF: schedstat and cgroup files are read at 10 Hz, exits, blame and "
    "edges are not seen";

std::string reason(const Error& error) {
  std::string text = error.what;
  if (error.code != 0) text.append(": ").append(std::strerror(error.code));
  return text;
}

DoctorLine version_line(const DoctorHost& host) {
  const std::string release = host.calls.kernel_release();
  const auto words = split(release, ".-+ ");
  DoctorLine line = ok_line("kernel", "version", release);
  const auto major = words.empty() ? std::nullopt : parse_number(words[0]);
  const auto minor = words.size() < 2 ? std::nullopt : parse_number(words[1]);
  if (!major || !minor) {
    line.state = kUnknown;
    line.cost = "whether this kernel was ever tried is not known";
    return line;
  }
  const std::pair version{*major, *minor};
  if (version < kRingBufferFrom) {
    line.state = kMissing;
    line.cost = kFilesMode;
    line.advice = "use a kernel from 6.1 on";
  } else if (version < kTestedFrom) {
    line.state = kDegraded;
    line.cost = "never tried on kernels before 6.1";
    line.advice = "use a kernel from 6.1 on";
  }
  return line;
}

DoctorLine btf_line(const DoctorHost& host) {
  if (host.has_sys("kernel/btf/vmlinux")) {
    return ok_line("kernel", "BTF", "/sys/kernel/btf/vmlinux");
  }
  return {"kernel",   "BTF",
          kMissing,   "no /sys/kernel/btf/vmlinux",
          kFilesMode, "use a kernel with CONFIG_DEBUG_INFO_BTF=y"};
}

DoctorLine lockdown_line(const DoctorHost& host) {
  auto text = read_text_at(host.sys.get(), "kernel/security/lockdown", 256);
  if (!text) {
    return ok_line("kernel", "lockdown",
                   "not in force as far as can be seen (no lockdown file)");
  }
  if (text->find("[confidentiality]") == std::string::npos) {
    const bool none = text->find("[none]") != std::string::npos;
    return ok_line("kernel", "lockdown",
                   none ? "none" : "integrity (BPF may read all the same)");
  }
  return {"kernel",   "lockdown",
          kMissing,   "confidentiality: BPF may not read kernel memory",
          kFilesMode, "boot with lockdown=integrity, or live with it"};
}

DoctorLine schedstat_line(const DoctorHost& host) {
  auto text = read_text_at(host.proc.fd(), "self/schedstat", 128);
  const auto figures = text ? parse_schedstat(*text) : std::nullopt;
  if (figures && figures->slices != 0) {
    return ok_line("kernel", "schedstat", "run and wait of each thread");
  }
  return {"kernel",
          "schedstat",
          kDegraded,
          text ? "/proc/PID/schedstat counts nothing" : reason(text.error()),
          "nothing to fall back on where BPF fails",
          "use a kernel with CONFIG_SCHED_INFO=y"};
}

struct Right {
  const char* name;
  int number;
  const char* cost;
  // Before 5.8 there was only CAP_SYS_ADMIN for these; it still implies them.
  bool implied_by_admin;
};

constexpr std::array<Right, 5> kRights{{
    {"CAP_BPF", CAP_BPF, kFilesMode, true},
    {"CAP_PERFMON", CAP_PERFMON, kFilesMode, true},
    {"CAP_SYS_RESOURCE", CAP_SYS_RESOURCE,
     "the limits of open files and locked memory stay as they are (without "
     "BPF: two files a thread are kept open)",
     false},
    {"CAP_SYS_PTRACE", CAP_SYS_PTRACE,
     "VMs that run under other accounts are not found", false},
    {"CAP_SYS_NICE", CAP_SYS_NICE,
     "the loop runs as a normal thread and waits milliseconds on a busy host",
     false},
}};

DoctorLine right_line(const DoctorHost& host, const Right& right) {
  if (host.has_capability(right.number)) {
    return ok_line("account", right.name, "effective");
  }
  if (right.implied_by_admin && host.has_capability(CAP_SYS_ADMIN)) {
    return ok_line("account", right.name, "by CAP_SYS_ADMIN");
  }
  return {"account",  right.name,
          kDegraded,  "not among this session's rights",
          right.cost, "run as root outside a container, or by the unit"};
}

DoctorLine map_line(const DoctorHost& host, const char* what,
                    std::uint32_t type, const char* cost) {
  auto made = host.calls.create_bpf_map(type);
  if (made) return ok_line("bpf", what, "works");
  const bool refused = made.error().code == EPERM;
  return {"bpf",
          what,
          kMissing,
          reason(made.error()),
          cost,
          refused ? "run as root, with CAP_BPF; look at the account lines"
                  : "use a kernel from 6.1 on with CONFIG_BPF_SYSCALL=y"};
}

std::string vendor_module(const DoctorHost& host) {
  for (const char* name : {"kvm_amd", "kvm_intel"}) {
    if (host.has_sys(std::string("module/") + name)) return name;
  }
  return {};
}

// E.g. "kvm_pvm": what makes KVM work here instead of AMD's or Intel's.
std::string other_modules(const DoctorHost& host) {
  auto names = list_names_at(host.sys.get(), "module");
  std::string others;
  if (!names) return others;
  for (const std::string& name : *names) {
    if (name.rfind("kvm_", 0) != 0) continue;
    others.append(others.empty() ? "" : ", ").append(name);
  }
  return others;
}

DoctorLine module_line(const DoctorHost& host) {
  if (!host.has_sys("module/kvm")) {
    return {"kvm",
            "module",
            kMissing,
            "kvm is not loaded",
            "no VM runs here; outriderd opens its eyes anew when it is loaded",
            "modprobe kvm_amd or kvm_intel, and switch on virtualization in "
            "the firmware"};
  }
  const std::string vendor = vendor_module(host);
  if (!vendor.empty()) {
    return ok_line("kvm", "module",
                   vendor == "kvm_amd"
                       ? "kvm_amd"
                       : "kvm_intel (not tested on Intel hardware yet)");
  }
  const std::string others = other_modules(host);
  return {"kvm",
          "module",
          kDegraded,
          others.empty()
              ? "kvm without kvm_amd or kvm_intel"
              : "kvm with " + others + ", neither kvm_amd nor kvm_intel",
          "guests may run without kvm_entry and kvm_exit: vCPUs then count as "
          "the emulator's threads, exits are not seen",
          others.empty() ? "modprobe kvm_amd or kvm_intel" : ""};
}

DoctorLine device_line(const DoctorHost& host) {
  const std::string path = host.paths.dev + "/kvm";
  if (::access(path.c_str(), F_OK) == 0) {
    return ok_line("kvm", "device", "/dev/kvm");
  }
  return {"kvm",
          "device",
          kMissing,
          "no /dev/kvm",
          "no VM can start here",
          "load the kvm module; look at permissions of /dev"};
}

DoctorLine exit_reason_line(const DoctorHost& host) {
  const std::string vendor = vendor_module(host);
  // Only a real module has an initstate; built in, its types are vmlinux's.
  const bool is_module =
      !vendor.empty() && host.has_sys("module/" + vendor + "/initstate");
  const std::string btf =
      "kernel/btf/" + (is_module ? vendor : std::string("vmlinux"));
  if (!vendor.empty() && host.has_sys(btf)) {
    return ok_line("kvm", "exit reasons",
                   "by the types of " + vendor +
                       (vendor == "kvm_intel" ? " (untested)" : ""));
  }
  return {"kvm",
          "exit reasons",
          kDegraded,
          vendor.empty() ? "neither kvm_amd nor kvm_intel is loaded"
                         : "no BTF for " + vendor,
          "exits are classed by KVM's other tracepoints: interrupts count as "
          "other",
          vendor.empty() ? "" : "use a kernel with BTF for its modules"};
}

DoctorLine vm_list_line(const DoctorHost& host) {
  if (host.has_sys("kernel/debug/kvm")) {
    return ok_line("kvm", "list of VMs", "/sys/kernel/debug/kvm");
  }
  return {"kvm",
          "list of VMs",
          kDegraded,
          "no /sys/kernel/debug/kvm",
          "a scan for VMs looks at the descriptors of all processes: tens of "
          "milliseconds instead of a few",
          "mount -t debugfs debugfs /sys/kernel/debug"};
}

}  // namespace

void add_kernel_lines(const DoctorHost& host, std::vector<DoctorLine>& lines) {
  lines.push_back(version_line(host));
  lines.push_back(btf_line(host));
  lines.push_back(lockdown_line(host));
  lines.push_back(schedstat_line(host));
  if (host.is_root) {
    lines.push_back(ok_line("account", "user", "root"));
  } else {
    lines.push_back({"account", "user", kDegraded, "not root",
                     "much of the rest cannot be seen from here",
                     "run outrider doctor as root"});
  }
  for (const Right& right : kRights) lines.push_back(right_line(host, right));
}

void add_bpf_lines(const DoctorHost& host, std::vector<DoctorLine>& lines) {
  lines.push_back(
      map_line(host, "system call", BPF_MAP_TYPE_ARRAY, kFilesMode));
  lines.push_back(map_line(host, "ring buffer", BPF_MAP_TYPE_RINGBUF,
                           "no edges: the loop learns of a limit at its tick"));
  const auto programs = host.calls.probe_programs();
  lines.insert(lines.end(), programs.begin(), programs.end());
}

void add_kvm_lines(const DoctorHost& host, std::vector<DoctorLine>& lines) {
  lines.push_back(module_line(host));
  lines.push_back(device_line(host));
  if (!host.has_sys("module/kvm")) return;
  lines.push_back(exit_reason_line(host));
  auto polling =
      read_text_at(host.sys.get(), "module/kvm/parameters/halt_poll_ns", 64);
  if (polling) {
    const auto words = split(*polling, "\n ");
    lines.push_back(ok_line("kvm", "halt polling",
                            words.empty() || words[0] == "0"
                                ? "off"
                                : "up to " + std::string(words[0]) + " ns"));
  } else {
    lines.push_back({"kvm", "halt polling", kUnknown, reason(polling.error()),
                     "usage may hold polling that demand does not", ""});
  }
  lines.push_back(vm_list_line(host));
}

void add_loop_lines(const DoctorHost& host, std::vector<DoctorLine>& lines) {
  auto tried = host.calls.try_loop_priority();
  if (tried) {
    lines.push_back(ok_line("loop", "SCHED_FIFO", "allowed"));
    return;
  }
  DoctorLine line{"loop",
                  "SCHED_FIFO",
                  kDegraded,
                  reason(tried.error()),
                  "on a busy host the loop waits milliseconds for a CPU",
                  "give it CAP_SYS_NICE"};
  auto text = read_text_at(host.proc.fd(), "self/cgroup", 16UL * 1024);
  const std::string group = text ? parse_proc_cgroup(*text).v1_cpu : "";
  if (host.has_capability(CAP_SYS_NICE)) {
    // RT_GROUP_SCHED: a group without a share of its own may run no such task.
    line.advice = group.empty() || group == "/"
                      ? "look at /proc/sys/kernel/sched_rt_runtime_us and at "
                        "RT_GROUP_SCHED"
                      : "give the v1 cpu group " + group +
                            " a cpu.rt_runtime_us (RT_GROUP_SCHED), or start "
                            "outriderd at the root of that tree";
  }
  lines.push_back(std::move(line));
}

}  // namespace outrider
