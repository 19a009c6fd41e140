// SPDX-License-Identifier: Apache-2.0
// Notices VMs' cgroups that come and go, without looking for them.
#pragma once

#include <sys/inotify.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/base/result.h"
#include "agent/base/units.h"
#include "agent/cgroup.h"
#include "agent/discovery.h"
#include "agent/sys/fd.h"

namespace outrider {

struct CgroupChanges {
  std::vector<std::string> appeared;  // "/machine.slice/x.scope"
  std::vector<std::string> gone;
  bool lost = false;  // events were lost: scan
};

/// Watches machine.slice and qemu.slice, and slices in them, for the scopes of
/// VMs; and the root, for these slices. Other places (bare QEMU, pods) it does
/// not see. Invariant: at most kWatchesMax watches, each of one directory.
class CgroupWatch {
 public:
  static constexpr std::size_t kWatchesMax = 64;  // slices, not VMs

  /// Make it before the first scan, so that nothing falls between them.
  static Result<CgroupWatch> make(const CgroupTree& tree);
  /// Readable when something changed.
  int fd() const { return inotify_.get(); }
  /// What changed since the last call; does not block. One that came and went
  /// in between is in both lists.
  CgroupChanges take();
  std::size_t watch_count() const { return watches_.size(); }
  /// Slices that found no room.
  std::uint32_t unwatched() const { return unwatched_; }

 private:
  struct Watch {
    int number = 0;
    std::string path;  // "" is the root
  };

  CgroupWatch(Fd inotify, std::string mount)
      : inotify_(std::move(inotify)), mount_(std::move(mount)) {}
  Result<> watch(const std::string& path);
  void forget(std::string_view path);
  void watch_slice(const std::string& path, CgroupChanges& changes);
  void handle(const inotify_event& event, std::string_view name,
              CgroupChanges& changes);
  void look_for_slices(CgroupChanges& changes);
  bool is_watched(std::string_view path) const;

  Fd inotify_;
  std::string mount_;
  std::vector<Watch> watches_;
  std::uint32_t unwatched_ = 0;
};

/// Cgroups that have just appeared. QEMU asks for KVM only some time after its
/// cgroup is there, so each is looked into again and again until it has, or
/// until that has taken too long. Invariant: at most kMax; the oldest give way.
class FreshCgroups {
 public:
  static constexpr std::size_t kMax = 256;
  static constexpr Duration kPeriod = std::chrono::milliseconds{20};
  static constexpr Duration kPatience = std::chrono::seconds{30};

  void add(std::string path, Instant now);
  void remove(std::string_view path);
  bool empty() const { return cgroups_.empty(); }
  /// Processes that now have KVM; call every kPeriod until empty().
  std::vector<pid_t> look(Instant now, const ProcRoot& proc,
                          const CgroupTree& tree);

 private:
  struct Fresh {
    std::string path;
    Instant since{};
  };
  std::vector<Fresh> cgroups_;
};

}  // namespace outrider
