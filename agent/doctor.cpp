// SPDX-License-Identifier: Apache-2.0
#include "agent/doctor.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>

#include "agent/doctor_host.h"

namespace outrider {
namespace {

std::string value_of(const std::string& status, std::string_view key) {
  const std::string start = std::string(key) + ":\t";
  for (const std::string_view line : split(status, "\n")) {
    if (line.rfind(start, 0) == 0)
      return std::string(line.substr(start.size()));
  }
  return {};
}

void read_own_rights(DoctorHost& host) {
  auto status = read_text_at(host.proc.fd(), "self/status", 8192);
  if (!status) return;
  const std::string mask = value_of(*status, "CapEff");
  (void)std::from_chars(mask.data(), mask.data() + mask.size(),
                        host.capabilities, 16);  // 0 if malformed
  const std::string uids = value_of(*status, "Uid");
  const auto words = split(uids, "\t");  // real, effective, ...
  host.is_root = words.size() > 1 && words[1] == "0";
}

void open_cgroups(DoctorHost& host) {
  auto mounts = read_cgroup_mounts(host.proc);
  if (mounts) host.mounts = *std::move(mounts);
  auto tree = host.paths.cgroup2.empty() ? open_host_cgroups(host.proc)
                                         : CgroupTree::open(host.paths.cgroup2);
  if (tree) {
    host.cgroups = *std::move(tree);
  } else {
    host.cgroup_error = tree.error().what;
  }
}

DoctorReport only(DoctorLine line) { return {.kernel = {}, .lines = {line}}; }

}  // namespace

const char* to_text(DoctorState state) {
  switch (state) {
    case DoctorState::kOk:
      return "ok";
    case DoctorState::kDegraded:
      return "degraded";
    case DoctorState::kMissing:
      return "missing";
    case DoctorState::kUnknown:
      break;
  }
  return "unknown";
}

bool DoctorHost::has_capability(int number) const {
  return ((capabilities >> number) & 1U) != 0;
}

bool DoctorHost::has_sys(const std::string& path) const {
  return ::faccessat(sys.get(), path.c_str(), F_OK, 0) == 0;
}

DoctorReport probe_host(const HostPaths& paths, const HostCalls& calls) {
  auto proc = ProcRoot::open(paths.proc);
  if (!proc) {
    return only({"kernel", "proc", DoctorState::kMissing, proc.error().what,
                 "nothing can be seen", "mount -t proc proc /proc"});
  }
  Fd sys{::open(paths.sys.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (!sys) {
    return only({"kernel", "sysfs", DoctorState::kMissing, "open " + paths.sys,
                 "nothing can be seen", "mount -t sysfs sysfs /sys"});
  }
  DoctorHost host{.paths = paths,
                  .calls = calls,
                  .proc = *std::move(proc),
                  .sys = std::move(sys),
                  .mounts = {},
                  .cgroups = {},
                  .cgroup_error = {},
                  .vms = {}};
  read_own_rights(host);
  open_cgroups(host);
  auto vms = scan(host.proc, host.cgroups ? &*host.cgroups : nullptr,
                  paths.sys + "/kernel/debug/kvm");
  if (vms) host.vms = *std::move(vms);
  DoctorReport report{.kernel = calls.kernel_release(), .lines = {}};
  add_kernel_lines(host, report.lines);
  add_bpf_lines(host, report.lines);
  add_kvm_lines(host, report.lines);
  add_cgroup_lines(host, report.lines);
  add_pressure_lines(host, report.lines);
  add_memory_lines(host, report.lines);
  add_loop_lines(host, report.lines);
  add_vm_lines(host, report.lines);
  return report;
}

int doctor_exit_code(const DoctorReport& report) {
  const bool all_ok = std::all_of(
      report.lines.begin(), report.lines.end(),
      [](const DoctorLine& line) { return line.state == DoctorState::kOk; });
  return all_ok ? 0 : 3;
}

}  // namespace outrider
