// SPDX-License-Identifier: Apache-2.0
#include "agent/foreign_writes.h"

#include <limits.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace outrider {
namespace {

// One is under way when events are lost; the next one sees every VM.
constexpr int kWholeRound = 2;

}  // namespace

Result<ForeignWrites> ForeignWrites::make(const CgroupTree& tree) {
  Fd inotify{::inotify_init1(IN_NONBLOCK | IN_CLOEXEC)};
  if (!inotify) return fail(errno, "inotify_init1");
  return ForeignWrites{std::move(inotify), tree.mount()};
}

Result<> ForeignWrites::watch(VmId vm, std::span<const std::string> cgroups) {
  forget(vm);
  const auto by_id = [](const Watched& a, VmId b) { return a.vm < b; };
  vms_.insert(std::lower_bound(vms_.begin(), vms_.end(), vm, by_id), {vm});
  for (const std::string& cgroup : cgroups) {
    const std::string directory = mount_ + cgroup;
    const int number = ::inotify_add_watch(inotify_.get(), directory.c_str(),
                                           IN_CLOSE_WRITE | IN_ONLYDIR);
    if (number < 0) return fail(errno, "inotify " + directory);
    const auto by_number = [](int a, const Watch& b) { return a < b.number; };
    watches_.insert(
        std::upper_bound(watches_.begin(), watches_.end(), number, by_number),
        {number, vm});
  }
  std::lower_bound(vms_.begin(), vms_.end(), vm, by_id)->complete = true;
  return {};
}

void ForeignWrites::forget(VmId vm) {
  const auto is_its = [vm](const auto& entry) { return entry.vm == vm; };
  std::vector<int> numbers;
  for (const Watch& watch : watches_) {
    if (is_its(watch)) numbers.push_back(watch.number);
  }
  watches_.erase(std::remove_if(watches_.begin(), watches_.end(), is_its),
                 watches_.end());
  for (const int number : numbers) {
    const bool shared = std::any_of(
        watches_.begin(), watches_.end(),
        [number](const Watch& watch) { return watch.number == number; });
    // Fails where the end of the directory has removed it already.
    if (!shared) (void)::inotify_rm_watch(inotify_.get(), number);
  }
  vms_.erase(std::remove_if(vms_.begin(), vms_.end(), is_its), vms_.end());
}

void ForeignWrites::mark(int number) {
  const auto by_number = [](const Watch& a, int b) { return a.number < b; };
  const auto by_id = [](const Watched& a, VmId b) { return a.vm < b; };
  auto watch =
      std::lower_bound(watches_.begin(), watches_.end(), number, by_number);
  for (; watch != watches_.end() && watch->number == number; ++watch) {
    std::lower_bound(vms_.begin(), vms_.end(), watch->vm, by_id)->changed =
        true;
  }
}

void ForeignWrites::drain() {
  alignas(inotify_event) std::array<char, kEventBytes> buffer;
  const ssize_t got = ::read(inotify_.get(), buffer.data(), buffer.size());
  if (got <= 0) return;  // EAGAIN: nothing was written
  const char* at = buffer.data();
  const char* end = at + got;
  while (at < end) {
    inotify_event event{};
    std::memcpy(&event, at, sizeof event);
    const char* name = at + sizeof event;  // padded with NULs
    at = name + event.len;
    const bool is_knob = event.len > 4 && std::memcmp(name, "cpu.", 4) == 0;
    if ((event.mask & IN_Q_OVERFLOW) != 0) rounds_behind_ = kWholeRound;
    if (is_knob) mark(event.wd);
  }
  // It stopped for want of room: there may be more.
  const std::size_t room = buffer.size() - static_cast<std::size_t>(got);
  if (room < sizeof(inotify_event) + NAME_MAX + 1) {
    rounds_behind_ = kWholeRound;
  }
}

bool ForeignWrites::is_quiet(VmId vm) const {
  if (is_stirred_ || rounds_behind_ > 0) return false;
  const auto by_id = [](const Watched& a, VmId b) { return a.vm < b; };
  const auto its = std::lower_bound(vms_.begin(), vms_.end(), vm, by_id);
  return its != vms_.end() && its->vm == vm && its->complete;
}

// A share of the VMs that grows as the round does.
void ForeignWrites::look_in_turn(Instant now, CgroupActuator& hands) {
  const auto look_until = [&](std::size_t end) {
    for (; next_ < end; ++next_) hands.find_foreign(vms_[next_].vm, found_);
  };
  if (now - round_began_ >= kRound) {
    look_until(vms_.size());
    next_ = 0;
    round_began_ = now;
    rounds_behind_ = std::max(rounds_behind_ - 1, 0);
  }
  const auto passed = static_cast<std::size_t>((now - round_began_).count());
  look_until(vms_.size() * passed / static_cast<std::size_t>(kRound.count()));
}

std::span<const ForeignWrite> ForeignWrites::take(Instant now,
                                                  CgroupActuator& hands) {
  found_.clear();
  is_stirred_ = false;
  drain();
  for (Watched& vm : vms_) {
    if (!vm.changed) continue;
    vm.changed = false;
    hands.find_foreign(vm.vm, found_);
  }
  look_in_turn(now, hands);
  return found_;
}

}  // namespace outrider
