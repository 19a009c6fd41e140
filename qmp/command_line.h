// SPDX-License-Identifier: Apache-2.0
// What QEMU's own command line tells: where it listens, and whether its memory
// can be taken back. Pure. The syntax: QEMU, qemu-options.hx.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace outrider::qmp {

/// Whether `path` is a monitor that libvirt keeps for itself: a second client
/// is never greeted there, and takes libvirt's place when libvirt restarts.
/// libvirt, src/qemu/qemu_process.c: LIBDIR/domain-ID-NAME/monitor.sock, where
/// LIBDIR is /var/lib/libvirt/qemu, or a user's own; before 1.3 NAME.monitor.
/// By its name alone: who opens it has to look where links lead.
bool is_libvirt_monitor(std::string_view path);

/// Facts about a guest's memory that bear on taking some of it back.
struct MemoryBacking {
  bool locked = false;             // mlock: nothing of it can be reclaimed
  bool passthrough = false;        // a device (VFIO, vDPA) pins all of it
  bool encrypted = false;          // SEV, TDX and the like: pinned, not shared
  bool huge_pages = false;         // hugetlbfs, as far as names tell
  bool shared = false;             // with another process, e.g. vhost-user
  bool preallocated = false;       // all of it is touched at the start
  std::vector<std::string> files;  // that back it
};

struct CommandLine {
  /// Paths of sockets on which QEMU listens for QMP, in the order of the
  /// monitors; none of libvirt's. Relative ones begin in QEMU's own folder.
  std::vector<std::string> sockets;
  MemoryBacking memory;
};

/// Reads a command line; `words[0]`, the program, is not looked at. What is not
/// understood is passed over.
CommandLine parse_command_line(std::span<const std::string> words);

/// The words of /proc/PID/cmdline, which a NUL ends each.
std::vector<std::string> split_command_line(std::string_view cmdline);

}  // namespace outrider::qmp
