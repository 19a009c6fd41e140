// SPDX-License-Identifier: Apache-2.0
// VMs of KVM's own, with cgroups of ordinary files, and the true outriderd over
// both: what a host without cgroup v2 can show of it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "agent/base/units.h"
#include "agent/control_client.h"
#include "agent/sys/fd.h"

namespace outrider {

[[noreturn]] void give_up(const std::string& what);

/// DIR/mount/vmN, each with the files that a cgroup with the cpu controller
/// has. Invariant: those that outriderd writes are kept open.
class FakeTree {
 public:
  FakeTree(const std::string& dir, std::uint32_t vm_count);

  const std::string& mount() const { return mount_; }
  std::uint32_t vm_count() const { return vm_count_; }
  static std::string cgroup(std::uint32_t vm) {
    return "/vm" + std::to_string(vm);
  }
  /// Every knob of every VM holds what it held before anybody came.
  bool is_back(std::uint32_t vm) const;
  std::uint32_t count_moved() const;
  /// Until all are back, or `kPatience` is over; after that, count_moved tells.
  Duration wait_for_all(Instant begun, Duration nap) const;
  /// Until `least` VMs have been moved. False: they have not been.
  bool wait_for_moves(std::uint32_t least) const;
  /// Every VM's cpu.max, as it is now.
  std::vector<std::string> caps() const;

 private:
  struct File {
    Fd fd;
    std::string baseline;
  };
  std::string mount_;
  std::uint32_t vm_count_;
  std::vector<File> files_;  // kKnobs of each VM, cpu.max first
};

/// minivm's VMs, as long as this lives.
class Machines {
 public:
  Machines(const std::string& program, std::uint32_t count,
           const std::string& mode);
  Machines(const Machines&) = delete;
  Machines& operator=(const Machines&) = delete;
  ~Machines();
  const std::vector<pid_t>& pids() const { return pids_; }

 private:
  pid_t parent_ = -1;
  std::vector<pid_t> pids_;
};

/// One outriderd at a time. Invariant: pid_ is -1, or a child of ours.
class Daemon {
 public:
  /// `dir` holds bin/, outrider.yaml and the socket.
  Daemon(std::string dir, std::vector<pid_t> vms);
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;
  ~Daemon();

  void start();
  /// Attaches one VM after the other, until then at most.
  void attach(Instant until) const;
  /// start, and all attached.
  void start_with_all();
  /// The answer to one request. Gives up where it is refused.
  std::string ask(const std::string& line) const;

  pid_t pid() const { return pid_; }
  /// Its warden's; -1: it has none.
  pid_t warden() const;
  void signal(int number) const;
  /// Waits for the end of it. True: it ended well.
  bool bury();

 private:
  ControlClient connect() const;
  static std::string ask(ControlClient& client, const std::string& line);
  std::string dir_;
  std::vector<pid_t> vms_;
  pid_t pid_ = -1;
};

/// A child of ours, also one whose parent died. True: exit code 0.
bool bury_child(pid_t pid);

}  // namespace outrider
