// SPDX-License-Identifier: Apache-2.0
#include "agent/cgroup.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace outrider {
namespace {

// cgroup.threads of a big VM: 10 bytes a thread.
constexpr std::size_t kMembersBytesMax = 1024UL * 1024;
constexpr std::size_t kMountsBytesMax = 4UL * 1024 * 1024;

constexpr std::array<std::string_view, 14> kControllers{
    "cpuset",  "cpu",     "cpuacct", "blkio",      "memory",
    "devices", "freezer", "net_cls", "perf_event", "net_prio",
    "hugetlb", "pids",    "rdma",    "misc"};

bool is_controller(std::string_view word) {
  return std::find(kControllers.begin(), kControllers.end(), word) !=
         kControllers.end();
}

int octal_digit(char c) { return c >= '0' && c <= '7' ? c - '0' : -1; }

// The kernel writes space, tab, newline and backslash as \ooo there.
std::string unescape_mount(std::string_view text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size() &&
        octal_digit(text[i + 1]) >= 0 && octal_digit(text[i + 2]) >= 0 &&
        octal_digit(text[i + 3]) >= 0) {
      plain.push_back(static_cast<char>(octal_digit(text[i + 1]) * 64 +
                                        octal_digit(text[i + 2]) * 8 +
                                        octal_digit(text[i + 3])));
      i += 3;
    } else {
      plain.push_back(text[i]);
    }
  }
  return plain;
}

void note_v2_mount(CgroupMounts& mounts, std::string point) {
  // Containers leave further mounts elsewhere; the host's own is the one here.
  const bool usual = point.rfind("/sys/fs/cgroup", 0) == 0;
  if (mounts.v2.empty() ||
      (usual && mounts.v2.rfind("/sys/fs/cgroup", 0) != 0)) {
    mounts.v2 = std::move(point);
  }
}

}  // namespace

CgroupMounts parse_cgroup_mounts(std::string_view text) {
  CgroupMounts mounts;
  bool has_v1 = false;
  for (const std::string_view line : split(text, "\n")) {
    const auto fields = split(line, " ");
    if (fields.size() < 4) continue;
    if (fields[2] == "cgroup2")
      note_v2_mount(mounts, unescape_mount(fields[1]));
    if (fields[2] != "cgroup") continue;
    has_v1 = true;
    for (const std::string_view word : split(fields[3], ",")) {
      if (is_controller(word)) mounts.v1_controllers.emplace_back(word);
    }
  }
  auto& v1 = mounts.v1_controllers;
  std::sort(v1.begin(), v1.end());
  v1.erase(std::unique(v1.begin(), v1.end()), v1.end());
  if (mounts.v2.empty()) {
    mounts.mode = has_v1 ? CgroupMode::kV1 : CgroupMode::kNone;
  } else {
    mounts.mode = v1.empty() ? CgroupMode::kUnified : CgroupMode::kHybrid;
  }
  return mounts;
}

Result<CgroupMounts> read_cgroup_mounts(const ProcRoot& proc) {
  auto text = read_text_at(proc.fd(), "self/mounts", kMountsBytesMax);
  if (!text) return pass(text, "mount table");
  return parse_cgroup_mounts(*text);
}

Result<CgroupTree> CgroupTree::open(const std::string& mount) {
  Fd dir{::open(mount.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (!dir) return fail(errno, "open " + mount);
  return CgroupTree{std::move(dir), mount};
}

Result<CgroupTree> open_host_cgroups(const ProcRoot& proc) {
  auto mounts = read_cgroup_mounts(proc);
  if (!mounts) return pass(mounts, "cgroup");
  if (mounts->v2.empty()) return fail(ENOENT, "no cgroup2 file system mounted");
  auto tree = CgroupTree::open(mounts->v2);
  if (!tree) return pass(tree, "cgroup");
  struct statfs facts {};
  if (::fstatfs(tree->fd(), &facts) != 0) {
    return fail(errno, "statfs " + mounts->v2);
  }
  if (facts.f_type != CGROUP2_SUPER_MAGIC) {
    return fail(ENOENT, mounts->v2 + " is hidden by another mount");
  }
  return tree;
}

std::string below(std::string_view path, std::string_view file) {
  std::string name{"."};
  if (path.empty() || path.front() != '/') name.push_back('/');
  name.append(path);
  if (!file.empty()) name.append("/").append(file);
  return name;
}

Result<std::string> check_cgroup_path(const CgroupTree& tree,
                                      std::string_view path) {
  const std::string asked{path};
  if (path.rfind(tree.mount() + "/", 0) == 0) {
    path.remove_prefix(tree.mount().size());
  }
  std::string clean;
  for (const std::string_view name : split(path, "/")) {
    if (name == "." || name == "..") {
      return fail(EINVAL, "cgroup " + asked + ": no . or .. in the path");
    }
    clean.append("/").append(name);
  }
  if (clean.empty()) {
    return fail(EINVAL, "cgroup " + asked + ": the root is nobody's own");
  }
  auto id = read_cgroup_id(tree, clean);
  if (!id) return pass(id, "cgroup");
  return clean;
}

Result<std::uint64_t> read_cgroup_id(const CgroupTree& tree,
                                     const std::string& path) {
  struct stat facts {};
  if (::fstatat(tree.fd(), below(path, "").c_str(), &facts, 0) != 0) {
    return fail(errno, "stat " + tree.mount() + path);
  }
  if (!S_ISDIR(facts.st_mode)) {
    return fail(ENOTDIR, "not a cgroup: " + tree.mount() + path);
  }
  return static_cast<std::uint64_t>(facts.st_ino);
}

Result<std::vector<std::string>> list_child_cgroups(const CgroupTree& tree,
                                                    const std::string& path) {
  auto children = list_directories_at(tree.fd(), below(path, ""));
  if (!children) return pass(children, "cgroup");
  return children;
}

Result<std::vector<pid_t>> read_members(const CgroupTree& tree,
                                        const std::string& path,
                                        std::string_view file) {
  auto text = read_text_at(tree.fd(), below(path, file), kMembersBytesMax);
  if (!text) return pass(text, "cgroup");
  std::vector<pid_t> members;
  for (const std::string_view line : split(*text, "\n")) {
    auto number = parse_number(line);
    if (number) members.push_back(static_cast<pid_t>(*number));
  }
  return members;
}

Result<std::vector<std::string>> read_words(const CgroupTree& tree,
                                            const std::string& path,
                                            std::string_view file) {
  auto text = read_text_at(tree.fd(), below(path, file), 4096);
  if (!text) return pass(text, "cgroup");
  std::vector<std::string> words;
  for (const std::string_view word : split(*text, " \n")) {
    words.emplace_back(word);
  }
  return words;
}

std::optional<CpuStat> parse_cpu_stat(std::string_view text) {
  CpuStat stat;
  bool has_usage = false;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    const std::size_t space = line.find(' ');
    if (space == std::string_view::npos) continue;
    const std::string_view key = line.substr(0, space);
    const auto number = parse_number(line.substr(space + 1));
    if (!number) continue;
    if (key == "usage_usec") {
      stat.usage_ns = *number * 1000;
      has_usage = true;
    } else if (key == "throttled_usec") {
      stat.throttled_ns = *number * 1000;
      stat.has_throttling = true;
    } else if (key == "nr_throttled") {
      stat.throttled_count = *number;
    }
  }
  if (!has_usage) return std::nullopt;
  return stat;
}

Result<CpuStatFile> CpuStatFile::open(const CgroupTree& tree,
                                      const std::string& path) {
  const std::string name = below(path, "cpu.stat");
  Fd file{::openat(tree.fd(), name.c_str(), O_RDONLY | O_CLOEXEC)};
  if (!file) return fail(errno, "open " + tree.mount() + path + "/cpu.stat");
  return CpuStatFile{std::move(file)};
}

Result<CpuStat> CpuStatFile::read() const {
  std::array<char, 1024> buffer{};  // 10 lines, 290 bytes on 6.12
  const ssize_t got = ::pread(file_.get(), buffer.data(), buffer.size(), 0);
  if (got < 0) return fail(errno, "read cpu.stat");
  auto stat = parse_cpu_stat({buffer.data(), static_cast<std::size_t>(got)});
  if (!stat) return fail(0, "cpu.stat is malformed");
  return *stat;
}

}  // namespace outrider
