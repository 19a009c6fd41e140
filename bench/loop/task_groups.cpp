// SPDX-License-Identifier: Apache-2.0
#include "bench/loop/task_groups.h"

#include <dirent.h>
#include <fcntl.h>
#include <mntent.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <string_view>
#include <utility>

namespace outrider::bench {
namespace {

// The folder stands for all guests in it beside threads of 1,024 each: with one
// thread's share, other work would keep the guests from ever meeting a cap.
constexpr std::string_view kShares = "10240";

Result<std::string> find_cpu_tree() {
  FILE* mounts = setmntent("/proc/self/mounts", "re");
  if (mounts == nullptr) return fail(errno, "/proc/self/mounts");
  std::string path;
  while (const mntent* mount = getmntent(mounts)) {
    if (std::string_view(mount->mnt_type) == "cgroup" &&
        hasmntopt(mount, "cpu") != nullptr)
      path = mount->mnt_dir;
  }
  endmntent(mounts);
  if (path.empty()) return fail(0, "no v1 cpu tree is mounted here");
  return path;
}

// Guests that were just killed hold their group for a moment.
void remove_folder(const std::string& path) {
  for (int i = 0; i < 500; ++i) {
    if (DIR* folder = opendir(path.c_str())) {
      while (const dirent* entry = readdir(folder)) {
        if (entry->d_type != DT_DIR || entry->d_name[0] == '.') continue;
        (void)rmdir((path + "/" + entry->d_name).c_str());  // tried again
      }
      closedir(folder);
    }
    if (rmdir(path.c_str()) == 0 || errno == ENOENT) return;
    usleep(10'000);
  }
  fprintf(stderr, "bench_loop: %s is left behind\n", path.c_str());
}

Result<Fd> open_file(const std::string& path, int flags) {
  Fd fd{open(path.c_str(), flags | O_CLOEXEC)};
  if (!fd) return fail(errno, path);
  return fd;
}

Result<> write_text(const Fd& fd, std::string_view text) {
  if (pwrite(fd.get(), text.data(), text.size(), 0) < 0)
    return fail(errno, "write of a group's file");
  return {};
}

}  // namespace

Result<TaskGroup> TaskGroup::make(const std::string& path) {
  if (mkdir(path.c_str(), 0755) != 0) return fail(errno, path);
  auto period = open_file(path + "/cpu.cfs_period_us", O_WRONLY);
  if (!period) return pass(period, "task group");
  auto written = write_text(*period, "100000");
  if (!written) return pass(written, "period");
  auto quota = open_file(path + "/cpu.cfs_quota_us", O_WRONLY);
  auto stat = open_file(path + "/cpu.stat", O_RDONLY);
  auto procs = open_file(path + "/cgroup.procs", O_WRONLY);
  for (auto* file : {&quota, &stat, &procs}) {
    if (!*file) return pass(*file, "task group");
  }
  TaskGroup group;
  group.quota_ = *std::move(quota);
  group.stat_ = *std::move(stat);
  group.procs_ = *std::move(procs);
  return group;
}

Result<> TaskGroup::set_quota(const std::string& quota_us) const {
  return write_text(quota_, quota_us);
}

Result<> TaskGroup::add(pid_t pid) const {
  return write_text(procs_, std::to_string(pid));
}

std::uint64_t TaskGroup::throttled() const {
  std::array<char, 512> text{};
  if (pread(stat_.get(), text.data(), text.size() - 1, 0) < 0) return 0;
  constexpr std::string_view kKey = "nr_throttled ";
  const char* found = std::strstr(text.data(), kKey.data());
  std::uint64_t count = 0;
  if (found == nullptr) return 0;
  std::from_chars(found + kKey.size(), text.data() + text.size(), count);
  return count;
}

Result<TaskGroups> TaskGroups::make() {
  auto tree = find_cpu_tree();
  if (!tree) return pass(tree, "task groups");
  TaskGroups groups;
  groups.path_ = *tree + "/outrider-bench-" + std::to_string(getpid());
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return fail(errno, "pipe");
  Fd other{ends[0]};
  groups.alive_ = Fd{ends[1]};
  if (mkdir(groups.path_.c_str(), 0755) != 0)
    return fail(errno, "mkdir " + groups.path_);
  groups.remover_ = fork();
  if (groups.remover_ < 0) {
    (void)rmdir(groups.path_.c_str());
    return fail(errno, "fork");
  }
  if (groups.remover_ == 0) {
    setsid();  // signals to the bench's own group are not for this one
    groups.alive_ = Fd{};
    char byte = 0;
    while (read(other.get(), &byte, 1) < 0 && errno == EINTR) {
    }
    remove_folder(groups.path_);
    _exit(0);
  }
  auto shares = open_file(groups.path_ + "/cpu.shares", O_WRONLY);
  if (!shares) return pass(shares, "task groups");
  auto weighted = write_text(*shares, kShares);
  if (!weighted) return pass(weighted, "shares");
  return groups;
}

TaskGroups::TaskGroups(TaskGroups&& other) noexcept
    : path_(std::move(other.path_)),
      alive_(std::move(other.alive_)),
      remover_(std::exchange(other.remover_, -1)) {}

TaskGroups::~TaskGroups() {
  alive_ = Fd{};
  if (remover_ > 0) waitpid(remover_, nullptr, 0);
}

Result<TaskGroup> TaskGroups::add(const std::string& name) const {
  return TaskGroup::make(path_ + "/" + name);
}

}  // namespace outrider::bench
