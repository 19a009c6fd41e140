// SPDX-License-Identifier: Apache-2.0
#include "agent/throttle.h"

#include <algorithm>
#include <cerrno>

namespace outrider {

Result<> ThrottleReader::attach(const Vm& vm, const CgroupTree& tree) {
  if (vm.identity.cgroup.empty()) {
    return fail(ENOENT, "throttling: vm=" + vm.identity.name +
                            " has no cgroup of its own");
  }
  auto file = CpuStatFile::open(tree, vm.identity.cgroup);
  if (!file) return pass(file, "throttling");
  auto first = file->read();
  if (!first) return pass(first, "throttling");
  if (!first->has_throttling) {
    return fail(ENOENT, "throttling: no cpu controller in " +
                            vm.identity.cgroup + " (cgroup.subtree_control)");
  }
  detach(vm.id);
  const auto place = std::find_if(
      watched_.begin(), watched_.end(),
      [&vm](const Watched& watched) { return watched.vm > vm.id; });
  watched_.insert(place, Watched{vm.id, *std::move(file), *first, *first});
  return {};
}

void ThrottleReader::detach(VmId vm) {
  const auto same = [vm](const Watched& watched) { return watched.vm == vm; };
  watched_.erase(std::remove_if(watched_.begin(), watched_.end(), same),
                 watched_.end());
}

void ThrottleReader::read_all() {
  for (Watched& watched : watched_) {
    auto now = watched.file.read();
    // The controller may be taken away meanwhile: hold, never zero.
    if (now && now->throttled_ns >= watched.last.throttled_ns) {
      watched.last = *now;
    }
  }
}

void ThrottleReader::fill(Sample& sample) const {
  auto watched = watched_.begin();
  for (VmSample& vm : sample.vms) {
    while (watched != watched_.end() && watched->vm < vm.id) ++watched;
    if (watched == watched_.end()) return;
    if (watched->vm != vm.id) continue;
    vm.throttled_ns = watched->last.throttled_ns - watched->first.throttled_ns;
    vm.throttled_count =
        watched->last.throttled_count - watched->first.throttled_count;
  }
}

}  // namespace outrider
