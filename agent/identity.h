// SPDX-License-Identifier: Apache-2.0
// Which VM a process is: from its command line and its place in the cgroup
// tree. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "agent/vm.h"

namespace outrider {

/// What QEMU's command line says of the VM; empty where it says nothing.
/// Control characters become '?': the guest's owner chose this text.
struct QemuNames {
  std::string name;  // -name guest=, or the first word of -name
  std::string uuid;  // -uuid, or -smbios type=1,uuid=; lower case
  std::string id;    // -id: Proxmox's number
};
QemuNames parse_qemu_cmdline(const std::vector<std::string>& arguments);

/// Lower case; empty unless it is 8-4-4-4-12 hex digits and not all zero.
std::string clean_uuid(std::string_view text);

/// The value of `key` in QEMU's option syntax "first,key=value,...", where ",,"
/// is a comma. `key` empty: the first word, if it has no "=".
std::string qemu_option(std::string_view options, std::string_view key);

/// "machine-qemu\x2d1\x2dweb.scope" -> "machine-qemu-1-web.scope".
std::string systemd_unescape(std::string_view text);

/// A VM's place in the cgroup tree.
struct CgroupPlace {
  VmOrigin origin = VmOrigin::kProcess;
  std::string cgroup;  // the VM's own: vCPUs and emulator below it
  std::string name;    // from the scope; empty when it has none
};
/// `path`: of any thread of the VM, e.g. ".../libvirt/emulator". The root is no
/// place: everything empty.
CgroupPlace place_of(std::string_view path);

}  // namespace outrider
