// SPDX-License-Identifier: Apache-2.0
// The doctor's lines about cgroups, pressure, the VMs and who owns them.
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "agent/doctor_host.h"

namespace outrider {
namespace {

using enum DoctorState;

bool contains(const std::vector<std::string>& words, std::string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

DoctorLine mode_line(const DoctorHost& host) {
  const char* advice =
      "boot with systemd.unified_cgroup_hierarchy=1, or mount cgroup2 alone";
  const CgroupMode mode = host.mounts.mode;
  if (mode == CgroupMode::kUnified && host.cgroups) {
    return ok_line("cgroup", "version", "v2 on " + host.cgroups->mount());
  }
  if (mode == CgroupMode::kHybrid && host.cgroups) {
    return {
        "cgroup",
        "version",
        kDegraded,
        "hybrid: v2 on " + host.cgroups->mount() + ", controllers bound to v1",
        "observe only: v2 has no knobs here, and no throttling figures",
        advice};
  }
  if (mode == CgroupMode::kV1) {
    return {"cgroup",
            "version",
            kMissing,
            "v1 only",
            "observe only: no knobs, no throttling figures, no events of VMs "
            "that come and go",
            advice};
  }
  return {"cgroup",
          "version",
          kMissing,
          host.cgroup_error,
          "observe only: no knobs, no throttling figures, no events of VMs "
          "that come and go",
          "mount -t cgroup2 cgroup2 /sys/fs/cgroup"};
}

struct Controller {
  const char* name;
  const char* v1_name;
  const char* cost;
};

constexpr std::array<Controller, 4> kControllers{{
    {"cpu", "cpu", "CPU cannot be limited; throttling is not seen"},
    {"memory", "memory", "memory cannot be limited or protected by cgroup"},
    {"io", "blkio", "disk cannot be limited by cgroup"},
    {"cpuset", "cpuset", "CPUs cannot be set aside by cgroup"},
}};

DoctorLine controller_line(const DoctorHost& host,
                           const Controller& controller) {
  const std::string name = controller.name;
  DoctorLine line = ok_line("cgroup", name, "in v2, enabled below the root");
  std::vector<std::string> there;
  std::vector<std::string> enabled;
  if (host.cgroups) {
    there = read_words(*host.cgroups, "", "cgroup.controllers").value_or(there);
    enabled = read_words(*host.cgroups, "", "cgroup.subtree_control")
                  .value_or(enabled);
  }
  if (contains(enabled, name)) return line;
  line.cost = controller.cost;
  if (contains(there, name)) {
    line.state = kDegraded;
    line.found = "in v2, not enabled below the root";
    line.advice = "echo +" + name + " > " + host.cgroups->mount() +
                  "/cgroup.subtree_control";
    return line;
  }
  line.state = kMissing;
  if (contains(host.mounts.v1_controllers, controller.v1_name)) {
    line.found = std::string("bound to v1 as ") + controller.v1_name;
    line.advice = "see the version line of cgroup";
  } else {
    line.found = "not in v2";
    line.advice =
        "use a kernel that has it; look for cgroup_disable= and "
        "cgroup_no_v1= on its command line";
  }
  return line;
}

DoctorLine pressure_line(const char* what, const Result<std::string>& text) {
  if (text) return ok_line("pressure", what, "PSI is counted");
  const int code = text.error().code;
  DoctorLine line{"pressure",
                  what,
                  kMissing,
                  "not in this kernel",
                  "stalls are taken from run-queue wait, throttling and "
                  "memory.events instead",
                  "use a kernel with CONFIG_PSI=y"};
  if (code == EOPNOTSUPP) {
    line.found = "switched off";
    line.advice = "boot with psi=1";
  } else if (code != ENOENT) {
    line.found = std::strerror(code);
    line.advice = "run as root";
  }
  return line;
}

// A VM's cgroup, else any, else the root: where pressure is to be tried.
std::string some_cgroup(const DoctorHost& host) {
  for (const VmIdentity& vm : host.vms.vms) {
    if (!vm.cgroup.empty()) return vm.cgroup;
  }
  auto children = list_child_cgroups(*host.cgroups, "");
  return children && !children->empty() ? "/" + children->front() : "";
}

std::string unit_of(const std::string& cgroup) {
  for (const std::string_view name : split(cgroup, "/")) {
    const auto is = [name](std::string_view end) {
      return name.size() > end.size() &&
             name.substr(name.size() - end.size()) == end;
    };
    if (is(".scope") || is(".service")) return std::string(name);
  }
  return {};
}

std::string owner_of(const VmIdentity& vm) {
  if (vm.origin == VmOrigin::kLibvirt) return "libvirt's";
  if (vm.origin == VmOrigin::kProxmox) return "Proxmox VE's or systemd's scope";
  if (vm.cgroup.find("kubepods") != std::string::npos) return "kubelet's";
  const std::string unit = unit_of(vm.cgroup);
  return unit.empty() ? "nobody's" : "systemd's " + unit;
}

DoctorLine vm_line(const VmIdentity& vm) {
  const std::string process = "pid " + std::to_string(vm.pid);
  DoctorLine line = ok_line("vm", vm.name, "");
  if (vm.cgroup.empty()) {
    line.state = kDegraded;
    line.found = process + ", no cgroup of its own";
    line.cost = "its throttling is not seen and nothing can limit it";
    line.advice =
        "start it in a scope, or name its cgroup: outrider vm attach "
        "--pid " +
        std::to_string(vm.pid) + " --cgroup PATH";
    return line;
  }
  line.found = process + ", " + vm.cgroup + " is " + owner_of(vm);
  const bool nested = unit_of(vm.cgroup).empty() ||
                      vm.cgroup.rfind("/libvirt") == vm.cgroup.size() - 8;
  if (vm.origin == VmOrigin::kLibvirt && !nested) {
    line.state = kDegraded;
    line.cost = "systemd puts the scope's values back at every daemon-reload";
    line.advice = "libvirt from 7.1 on makes a nested group that keeps them";
  }
  return line;
}

// Others that write to cgroups of VMs, by name; the kernel keeps 15 letters.
struct Writer {
  std::string_view comm;
  const char* who;
};
constexpr std::array<Writer, 6> kWriters{{
    {"libvirtd", "libvirtd"},
    {"virtqemud", "virtqemud"},
    {"pvedaemon", "Proxmox VE"},
    {"kubelet", "kubelet"},
    {"koordlet", "koordlet"},
    {"tuned", "tuned"},
}};

DoctorLine writers_line(const DoctorHost& host) {
  std::vector<std::string> found;
  const auto pids = list_processes(host.proc).value_or(std::vector<pid_t>{});
  for (const pid_t pid : pids) {
    auto comm = read_text_at(host.proc.fd(), std::to_string(pid) + "/comm", 64);
    if (!comm) continue;
    while (!comm->empty() && comm->back() == '\n') comm->pop_back();
    for (const Writer& writer : kWriters) {
      if (*comm == writer.comm && !contains(found, writer.who)) {
        found.emplace_back(writer.who);
      }
    }
  }
  std::string names;
  for (const std::string& name : found) {
    names.append(names.empty() ? "" : ", ").append(name);
  }
  DoctorLine line =
      ok_line("vm", "other writers", names.empty() ? "none known" : names);
  if (contains(found, "koordlet")) {
    line.state = kDegraded;
    line.cost = "it sets the same knobs: those it fights over are left to it";
    line.advice = "let one of the two control these VMs";
  }
  return line;
}

}  // namespace

void add_cgroup_lines(const DoctorHost& host, std::vector<DoctorLine>& lines) {
  lines.push_back(mode_line(host));
  for (const Controller& controller : kControllers) {
    lines.push_back(controller_line(host, controller));
  }
}

void add_pressure_lines(const DoctorHost& host,
                        std::vector<DoctorLine>& lines) {
  lines.push_back(pressure_line(
      "host", read_text_at(host.proc.fd(), "pressure/cpu", 4096)));
  if (!host.cgroups) {
    lines.push_back({"pressure", "per cgroup", kMissing, "no cgroup v2",
                     "a VM's stalls are taken from its threads' wait instead",
                     "see the version line of cgroup"});
    return;
  }
  const std::string file = below(some_cgroup(host), "cpu.pressure");
  lines.push_back(pressure_line("per cgroup",
                                read_text_at(host.cgroups->fd(), file, 4096)));
}

void add_vm_lines(const DoctorHost& host, std::vector<DoctorLine>& lines) {
  const std::size_t count = host.vms.vms.size();
  DoctorLine line =
      ok_line("vm", "running", count == 0 ? "none" : std::to_string(count));
  if (host.vms.unreadable != 0) {
    line.state = kUnknown;
    line.found += " found; processes that may not be looked into: " +
                  std::to_string(host.vms.unreadable);
    line.cost = "a VM among those is not found";
    line.advice =
        "run as root, with CAP_SYS_PTRACE, outside containers; a security "
        "module may also be what refuses";
  }
  lines.push_back(std::move(line));
  for (const VmIdentity& vm : host.vms.vms) lines.push_back(vm_line(vm));
  lines.push_back(writers_line(host));
}

}  // namespace outrider
