// SPDX-License-Identifier: Apache-2.0
// A tree in a temporary directory that looks like /proc and /sys/fs/cgroup.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace outrider {

struct FakeProcess {
  int pid = 0;
  std::string comm = "qemu-system-x86";
  std::string cgroup = "/";
  std::vector<std::string> arguments{"qemu-system-x86_64"};
  std::vector<std::string> descriptors{"/dev/null", "anon_inode:kvm-vm"};
  std::uint64_t start_ticks = 1000;
  std::uint32_t flags = 0x400100;
};

/// Invariant: the directory exists while this does.
class FakeHost {
 public:
  FakeHost() {
    // In memory where that is possible: thousands of files are made.
    const bool has_shm = ::access("/dev/shm", W_OK) == 0;
    const std::filesystem::path above =
        has_shm ? "/dev/shm" : std::filesystem::temp_directory_path();
    std::string name = above / "hostXXXXXX";
    EXPECT_NE(::mkdtemp(name.data()), nullptr);
    root_ = name;
    std::filesystem::create_directories(proc());
    std::filesystem::create_directories(cgroups());
  }
  FakeHost(const FakeHost&) = delete;
  FakeHost& operator=(const FakeHost&) = delete;
  ~FakeHost() { std::filesystem::remove_all(root_); }

  std::string root() const { return root_; }
  std::string proc() const { return root_ / "proc"; }
  std::string cgroups() const { return root_ / "cgroup"; }

  void write(const std::string& path, const std::string& text) const {
    const std::filesystem::path file = root_ / path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  void remove(const std::string& path) const {
    std::filesystem::remove_all(root_ / path);
  }

  void add(const FakeProcess& process) const {
    const std::string at = "proc/" + std::to_string(process.pid);
    write(at + "/stat", stat_of(process));
    std::string line;
    for (const std::string& argument : process.arguments) {
      line.append(argument).push_back('\0');
    }
    write(at + "/cmdline", line);
    write(at + "/cgroup", "0::" + process.cgroup + "\n");
    std::filesystem::create_directories(root_ / at / "fd");
    int number = 0;
    for (const std::string& target : process.descriptors) {
      std::filesystem::create_symlink(
          target, root_ / at / "fd" / std::to_string(number++));
    }
    add_thread(process.pid, process.pid, process.comm);
    write(at + "/comm", process.comm + "\n");
    write(at + "/status", status(process.pid, 'S', 0));
  }

  void add_thread(int pid, int tid, const std::string& comm,
                  const std::string& cgroup = "/") const {
    const std::string at = task(pid, tid);
    write(at + "/comm", comm + "\n");
    write(at + "/cgroup", "0::" + cgroup + "\n");
    write(at + "/schedstat", "0 0 0\n");
    write(at + "/status", status(pid, 'S', 0));
    write(at + "/syscall", "running\n");
    write_task_stat(pid, tid, 0x400040);
  }

  void write_task_stat(int pid, int tid, std::uint32_t flags) const {
    FakeProcess thread;
    thread.pid = tid;
    thread.flags = flags;
    write(task(pid, tid) + "/stat", stat_of(thread));
  }

  /// What a thread did so far: `state` as in status, figures in ns.
  void run(int pid, int tid, char state, const std::string& schedstat,
           int sleeps) const {
    write(task(pid, tid) + "/schedstat", schedstat + "\n");
    write(task(pid, tid) + "/status", status(pid, state, sleeps));
  }

  void add_cgroup(const std::string& path) const {
    std::filesystem::create_directories(root_ / ("cgroup" + path));
  }

  static std::string task(int pid, int tid) {
    return "proc/" + std::to_string(pid) + "/task/" + std::to_string(tid);
  }

 private:
  static std::string stat_of(const FakeProcess& p) {
    return std::to_string(p.pid) + " (" + p.comm + ") S 1 1 1 0 -1 " +
           std::to_string(p.flags) +
           " 9 0 0 0 12 34 0 0 20 0 1 0 " +  // ... num_threads 1, itrealvalue 0
           std::to_string(p.start_ticks) + " 4096 100\n";
  }
  static std::string status(int tgid, char state, int sleeps) {
    return "Name:\tx\nState:\t" + std::string(1, state) + " (x)\nTgid:\t" +
           std::to_string(tgid) + "\nvoluntary_ctxt_switches:\t" +
           std::to_string(sleeps) + "\nnonvoluntary_ctxt_switches:\t7\n";
  }

  std::filesystem::path root_;
};

}  // namespace outrider
