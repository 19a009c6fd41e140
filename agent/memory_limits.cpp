// SPDX-License-Identifier: Apache-2.0
#include "agent/memory_limits.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "agent/discovery.h"

namespace outrider {
namespace {

// A vCPU's threaded group lies one level below the VM's own; one more is room.
constexpr int kLevelsUpMax = 2;

bool has_memory(const CgroupTree& tree, const std::string& path) {
  return ::faccessat(tree.fd(), below(path, "memory.current").c_str(), F_OK,
                     0) == 0;
}

std::string parent_of(const std::string& path) {
  return path.substr(0, path.rfind('/'));
}

// nullopt without an error: none of the groups has such a file.
Result<std::optional<MemoryLimit>> read_limit(const CgroupTree& tree,
                                              const std::string& cgroup,
                                              std::string_view file) {
  std::optional<MemoryLimit> limit;
  std::string path;
  for (const std::string_view name : split(cgroup, "/")) {
    path.append("/").append(name);
    auto text = read_text_at(tree.fd(), below(path, file), 64);
    if (!text) {
      // The controller begins further down; or the kernel has no such limit.
      if (text.error().code == ENOENT) continue;
      return pass(text, path);
    }
    const auto value = parse_memory_limit(*text);
    if (!value) {
      return fail(EPROTO, path + "/" + std::string{file} + " is malformed");
    }
    if (!limit || *value <= limit->effective) {
      limit = MemoryLimit{.own = {}, .effective = *value, .binding = path};
    }
    limit->own = *value;  // the last one is the VM's
  }
  return limit;
}

}  // namespace

Result<std::string> find_memory_cgroup(const ProcRoot& proc,
                                       const CgroupTree& tree,
                                       const VmIdentity& vm) {
  if (vm.cgroup.empty()) {
    return fail(ENOENT, "memory: vm=" + vm.name + " has no cgroup of its own");
  }
  auto id = read_cgroup_id(tree, vm.cgroup);
  if (!id) return pass(id, "memory");
  if (*id != vm.cgroup_id) {
    return fail(ESTALE, "memory: cgroup " + vm.cgroup + " is another's");
  }
  std::string path = vm.cgroup;
  for (int level = 0; level <= kLevelsUpMax && !path.empty(); ++level) {
    if (!has_memory(tree, path)) {
      path = parent_of(path);
      continue;
    }
    const auto pids = find_kvm_in(proc, tree, path);
    const bool is_alone = std::all_of(
        pids.begin(), pids.end(), [&vm](pid_t pid) { return pid == vm.pid; });
    if (is_alone) return path;
    return fail(EBUSY, "memory: cgroup " + path + " holds other VMs as well");
  }
  return fail(ENOENT, "memory: no memory controller in " + vm.cgroup +
                          " (cgroup.subtree_control)");
}

std::vector<std::uint64_t> list_memory_cgroups(const CgroupTree& tree,
                                               const std::string& cgroup) {
  std::vector<std::uint64_t> ids;
  std::vector<std::string> level{cgroup};
  for (int depth = 0; depth <= 2; ++depth) {
    std::vector<std::string> next;
    for (const std::string& path : level) {
      auto id = read_cgroup_id(tree, path);
      // Below a threaded group there are only such.
      if (!id || !has_memory(tree, path)) continue;
      if (ids.size() == kMemoryCgroupsMax) return ids;
      ids.push_back(*id);
      auto children = list_child_cgroups(tree, path);
      if (!children) continue;
      for (const std::string& name : *children) {
        std::string child = path;
        child.append("/").append(name);
        next.push_back(std::move(child));
      }
    }
    level = std::move(next);
  }
  return ids;
}

Result<MemoryLimits> read_memory_limits(const CgroupTree& tree,
                                        const std::string& cgroup) {
  auto id = read_cgroup_id(tree, cgroup);
  if (!id) return pass(id, "memory limits");
  MemoryLimits limits;
  limits.cgroup = cgroup;
  struct Row {
    std::string_view file;
    std::optional<MemoryLimit> MemoryLimits::*limit;
  };
  for (const Row& row : {Row{"memory.min", &MemoryLimits::min},
                         Row{"memory.low", &MemoryLimits::low},
                         Row{"memory.high", &MemoryLimits::high},
                         Row{"memory.max", &MemoryLimits::max},
                         Row{"memory.swap.max", &MemoryLimits::swap_max},
                         Row{"memory.zswap.max", &MemoryLimits::zswap_max}}) {
    auto limit = read_limit(tree, cgroup, row.file);
    if (!limit) return pass(limit, "memory limits");
    limits.*row.limit = std::move(*limit);
  }
  return limits;
}

}  // namespace outrider
