// SPDX-License-Identifier: Apache-2.0
#include "agent/vm_finder.h"

#include <algorithm>

#include "agent/discovery.h"
#include "agent/log.h"

namespace outrider {
namespace {

// The oldest are forgotten first; an operator detaches few by hand.
constexpr std::size_t kIgnoredMax = 1024;

}  // namespace

VmFinder VmFinder::make(const DiscoveryConfig& config, const ProcRoot& proc,
                        const CgroupTree* cgroups) {
  VmFinder finder(config, proc, cgroups);
  if (cgroups == nullptr || (!config.libvirt && !config.proxmox)) return finder;
  auto watch = CgroupWatch::make(*cgroups);
  if (watch) {
    finder.watch_.emplace(std::move(*watch));
  } else {
    log_warning("discover what=\"{}\" next=\"new VMs are found as they run\"",
                escaped(watch.error().what));
  }
  return finder;
}

bool VmFinder::is_wanted(const VmIdentity& vm) const {
  const auto same = [&](const VmIdentity& other) {
    return is_same_vm(vm, other);
  };
  if (std::any_of(ignored_.begin(), ignored_.end(), same)) return false;
  switch (vm.origin) {
    case VmOrigin::kLibvirt:
      return config_.libvirt;
    case VmOrigin::kProxmox:
      return config_.proxmox;
    case VmOrigin::kProcess:
      return config_.processes;
    case VmOrigin::kOperator:
      return true;
  }
  return false;
}

std::vector<VmIdentity> VmFinder::scan(std::span<const VmIdentity> known) {
  auto found = outrider::scan(proc_, cgroups_, kKvmDebug, known);
  if (!found) {
    log_warning("discover what=\"{}\" next=\"new VMs are found as they run\"",
                escaped(found.error().what));
    return {};
  }
  std::erase_if(found->vms,
                [this](const VmIdentity& vm) { return !is_wanted(vm); });
  return std::move(found->vms);
}

std::optional<VmIdentity> VmFinder::look_at(pid_t pid) const {
  auto vm = identify(proc_, cgroups_, pid);
  if (!vm) {
    // Most likely it has ended already, which is no news.
    log_debug("discover pid={} what=\"{}\"", pid, escaped(vm.error().what));
    return std::nullopt;
  }
  if (!is_wanted(*vm)) return std::nullopt;
  return *vm;
}

int VmFinder::watch_fd() const { return watch_ ? watch_->fd() : -1; }

bool VmFinder::take_changes(Instant now) {
  CgroupChanges changes = watch_->take();
  for (std::string& path : changes.appeared) fresh_.add(std::move(path), now);
  for (const std::string& path : changes.gone) fresh_.remove(path);
  return changes.lost;
}

std::vector<VmIdentity> VmFinder::look_into_fresh(Instant now) {
  std::vector<VmIdentity> found;
  if (cgroups_ == nullptr) return found;
  for (const pid_t pid : fresh_.look(now, proc_, *cgroups_)) {
    if (auto vm = look_at(pid)) found.push_back(std::move(*vm));
  }
  return found;
}

void VmFinder::ignore(const VmIdentity& vm) {
  stop_ignoring(vm);
  if (ignored_.size() == kIgnoredMax) ignored_.erase(ignored_.begin());
  ignored_.push_back(vm);
}

void VmFinder::stop_ignoring(const VmIdentity& vm) {
  std::erase_if(ignored_,
                [&](const VmIdentity& other) { return is_same_vm(vm, other); });
}

}  // namespace outrider
