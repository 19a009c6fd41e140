// SPDX-License-Identifier: Apache-2.0
#include "agent/cgroup_watch.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace outrider {
namespace {

// "machine" is libvirt's on a host without systemd.
constexpr std::array<std::string_view, 3> kSlices{"machine.slice", "qemu.slice",
                                                  "machine"};

bool is_slice_of_vms(std::string_view name) {
  return std::find(kSlices.begin(), kSlices.end(), name) != kSlices.end();
}

bool is_slice(std::string_view name) {
  constexpr std::string_view kEnd = ".slice";
  return name.size() > kEnd.size() &&
         name.substr(name.size() - kEnd.size()) == kEnd;
}

}  // namespace

Result<CgroupWatch> CgroupWatch::make(const CgroupTree& tree) {
  Fd inotify{::inotify_init1(IN_NONBLOCK | IN_CLOEXEC)};
  if (!inotify) return fail(errno, "inotify_init1");
  CgroupWatch watch{std::move(inotify), tree.mount()};
  auto root = watch.watch("");
  if (!root) return pass(root, "cgroup watch");
  CgroupChanges already_there;  // the first scan finds them
  watch.look_for_slices(already_there);
  return watch;
}

Result<> CgroupWatch::watch(const std::string& path) {
  const std::string directory = mount_ + path;
  const int number =
      ::inotify_add_watch(inotify_.get(), directory.c_str(),
                          IN_CREATE | IN_DELETE | IN_MOVE | IN_ONLYDIR);
  if (number < 0) return fail(errno, "inotify " + directory);
  const bool is_new =
      std::none_of(watches_.begin(), watches_.end(),
                   [number](const Watch& w) { return w.number == number; });
  if (!is_new) return {};
  forget(path);  // a slice made anew: the old one's end was not seen
  watches_.push_back({number, path});
  return {};
}

// cgroup2 tells a watch nothing of the end of its own directory: only the
// watch above says so, and the kernel keeps the dead one until it is told.
void CgroupWatch::forget(std::string_view path) {
  const auto old =
      std::find_if(watches_.begin(), watches_.end(),
                   [path](const Watch& w) { return w.path == path; });
  if (old == watches_.end()) return;
  // Fails where the file system did tell, and the number is gone already.
  (void)::inotify_rm_watch(inotify_.get(), old->number);
  watches_.erase(old);
}

void CgroupWatch::watch_slice(const std::string& path, CgroupChanges& changes) {
  if (watches_.size() >= kWatchesMax) {
    ++unwatched_;
    return;
  }
  auto watched = watch(path);
  if (!watched) return;  // gone again; were it ENOSPC, scans still find VMs
  // What was made before the watch was there.
  Fd directory{
      ::open((mount_ + path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  auto children = list_directories_at(directory.get(), ".");
  if (!children) return;
  for (const std::string& name : *children) {
    std::string child = path;
    child.append("/").append(name);
    if (!is_slice(name)) {
      changes.appeared.push_back(std::move(child));
    } else if (!is_watched(child)) {
      watch_slice(child, changes);
    }
  }
}

void CgroupWatch::look_for_slices(CgroupChanges& changes) {
  for (const std::string_view name : kSlices) {
    std::string path{"/"};
    path.append(name);
    if (::access((mount_ + path).c_str(), F_OK) == 0) {
      watch_slice(path, changes);
    }
  }
}

bool CgroupWatch::is_watched(std::string_view path) const {
  return std::any_of(watches_.begin(), watches_.end(),
                     [path](const Watch& w) { return w.path == path; });
}

void CgroupWatch::handle(const inotify_event& event, std::string_view name,
                         CgroupChanges& changes) {
  if ((event.mask & IN_Q_OVERFLOW) != 0) {
    changes.lost = true;
    return;
  }
  const auto from =
      std::find_if(watches_.begin(), watches_.end(),
                   [&](const Watch& w) { return w.number == event.wd; });
  if (from == watches_.end()) return;
  if ((event.mask & IN_IGNORED) != 0) {
    watches_.erase(from);
    return;
  }
  if ((event.mask & IN_ISDIR) == 0) return;
  const bool in_root = from->path.empty();
  std::string path = from->path + "/";
  path.append(name);
  if (in_root && !is_slice_of_vms(name)) return;
  const bool came = (event.mask & (IN_CREATE | IN_MOVED_TO)) != 0;
  if (in_root || is_slice(name)) {
    if (came) {
      watch_slice(path, changes);
    } else {
      forget(path);
    }
  } else if (came) {
    changes.appeared.push_back(std::move(path));
  } else {
    changes.gone.push_back(std::move(path));
  }
}

CgroupChanges CgroupWatch::take() {
  CgroupChanges changes;
  alignas(inotify_event) std::array<char, 16UL * 1024> buffer{};
  while (true) {
    const ssize_t got = ::read(inotify_.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    const char* at = buffer.data();
    const char* end = at + got;
    while (at < end) {
      inotify_event event{};
      std::memcpy(&event, at, sizeof event);
      const char* name = at + sizeof event;  // padded with NULs
      handle(event, {name, ::strnlen(name, event.len)}, changes);
      at = name + event.len;
    }
  }
  if (changes.lost) look_for_slices(changes);
  const auto tidy = [](std::vector<std::string>& paths) {
    std::sort(paths.begin(), paths.end());
    paths.erase(std::unique(paths.begin(), paths.end()), paths.end());
  };
  tidy(changes.appeared);
  tidy(changes.gone);
  return changes;
}

void FreshCgroups::add(std::string path, Instant now) {
  remove(path);
  if (cgroups_.size() >= kMax) cgroups_.erase(cgroups_.begin());
  cgroups_.push_back({std::move(path), now});
}

void FreshCgroups::remove(std::string_view path) {
  const auto same = [path](const Fresh& fresh) { return fresh.path == path; };
  cgroups_.erase(std::remove_if(cgroups_.begin(), cgroups_.end(), same),
                 cgroups_.end());
}

std::vector<pid_t> FreshCgroups::look(Instant now, const ProcRoot& proc,
                                      const CgroupTree& tree) {
  std::vector<pid_t> all;
  const auto done = [&](const Fresh& fresh) {
    const auto found = find_kvm_in(proc, tree, fresh.path);
    all.insert(all.end(), found.begin(), found.end());
    return !found.empty() || now - fresh.since > kPatience ||
           !read_cgroup_id(tree, fresh.path);
  };
  std::vector<Fresh> left;
  for (Fresh& fresh : cgroups_) {
    if (!done(fresh)) left.push_back(std::move(fresh));
  }
  cgroups_ = std::move(left);
  return all;
}

}  // namespace outrider
