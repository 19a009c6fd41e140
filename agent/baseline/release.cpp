// SPDX-License-Identifier: Apache-2.0
#include "agent/baseline/release.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "agent/baseline/lock.h"
#include "agent/baseline/mapping.h"
#include "agent/baseline/mark.h"
#include "agent/baseline/record.h"
#include "agent/sys/fd.h"

namespace outrider {
namespace {

constexpr std::string_view kQuota = "cpu.max";
constexpr std::string_view kBurst = "cpu.max.burst";

struct CloseDir {
  void operator()(DIR* dir) const { ::closedir(dir); }
};

bool is_settled(RestoreOutcome outcome) {
  return outcome != RestoreOutcome::kFailed;
}

bool has(const std::vector<Mark>& marks, std::string_view attribute) {
  return std::any_of(marks.begin(), marks.end(), [attribute](const Mark& mark) {
    return mark.attribute == attribute;
  });
}

class Release {
 public:
  Release(Fd mount, std::string boot_id, RestoreMode mode)
      : mount_(std::move(mount)), boot_id_(std::move(boot_id)), mode_(mode) {}

  void by_table(BaselineFile& file) {
    restore_all(mount_.get(), file, mode_, [&](const RestoreStep& step) {
      take(step);
      if (mode_ == RestoreMode::kWrite && is_settled(step.outcome)) {
        forget(file.records[step.record], step);
      }
    });
  }

  /// `cgroup` is "/a/b"; the mount itself is "".
  void by_marks(const std::string& cgroup) {
    const std::string path = "." + cgroup;
    const int fd = ::openat(mount_.get(), path.c_str(),
                            O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    const std::unique_ptr<DIR, CloseDir> dir{fd < 0 ? nullptr
                                                    : ::fdopendir(fd)};
    if (dir == nullptr) return;  // removed meanwhile
    marks_of(cgroup, fd);
    std::vector<std::string> children;
    while (const dirent* entry = ::readdir(dir.get())) {
      const std::string_view name{entry->d_name};
      if (entry->d_type == DT_DIR && name != "." && name != "..") {
        children.push_back(cgroup + "/" + std::string(name));
      }
    }
    for (const std::string& child : children) by_marks(child);
  }

  std::vector<ReleasedKnob> take_knobs() { return std::move(knobs_); }

 private:
  void take(const RestoreStep& step) {
    knobs_.push_back({std::string(step.cgroup), std::string(step.attribute),
                      std::string(step.present), std::string(step.baseline),
                      ReleaseSource::kTable, step.outcome, step.code});
    if (step.outcome != RestoreOutcome::kBad) {
      known_.emplace(step.cgroup, step.attribute);
    }
  }

  // The xattr first: without a record it would be believed. That of a bad
  // record stays, for it is all there is.
  void forget(BaselineRecord& record, const RestoreStep& step) {
    if (step.outcome != RestoreOutcome::kBad) {
      auto dir = open_cgroup(mount_.get(), step.cgroup, record.knob.cgroup_id);
      if (dir) {
        // Where it cannot be removed, there never was one.
        (void)remove_mark(dir->get(), step.attribute);
      }
    }
    record.state.store(RecordState::kFree, std::memory_order_release);
  }

  void marks_of(const std::string& cgroup, int dir) {
    struct stat facts {};
    if (::fstat(dir, &facts) != 0) return;
    std::vector<Mark> marks = read_marks(dir, facts.st_ino, boot_id_);
    std::erase_if(marks, [&](const Mark& mark) {
      return known_.contains({cgroup, mark.attribute});
    });
    // The kernel refuses a quota below the burst: 0 first, its baseline last.
    if (mode_ == RestoreMode::kWrite && has(marks, kQuota) &&
        has(marks, kBurst)) {
      (void)restore_marked(dir, {std::string(kBurst), "0"}, mode_);
    }
    std::stable_partition(marks.begin(), marks.end(), [](const Mark& mark) {
      return mark.attribute != kBurst;
    });
    for (Mark& mark : marks) one_mark(cgroup, dir, mark);
  }

  void one_mark(const std::string& cgroup, int dir, Mark& mark) {
    const MarkedStep step = restore_marked(dir, mark, mode_);
    if (mode_ == RestoreMode::kWrite && is_settled(step.outcome)) {
      (void)remove_mark(dir, mark.attribute);  // then it is found once more
    }
    knobs_.push_back({cgroup, std::move(mark.attribute),
                      std::string(step.present.text()),
                      std::move(mark.baseline), ReleaseSource::kXattr,
                      step.outcome, step.code});
  }

  Fd mount_;
  std::string boot_id_;
  RestoreMode mode_;
  std::vector<ReleasedKnob> knobs_;
  std::set<std::pair<std::string, std::string>> known_;  // cgroup, attribute
};

// What keeps an agent from starting meanwhile, and the table. Both may be
// empty: there is no directory, or no file in it.
struct Table {
  Fd name;
  Fd file;
};
Result<Table> open_table(const std::string& dir, RestoreMode mode) {
  Table table;
  if (::access(dir.c_str(), F_OK) != 0) return table;
  if (mode == RestoreMode::kWrite) {
    auto name = take_socket_name(dir);
    if (!name) return pass(name, "release");
    table.name = *std::move(name);
  }
  if (::access((dir + "/baseline").c_str(), F_OK) != 0) return table;
  auto file = open_table_file(dir);
  if (!file) return pass(file, "release");
  table.file = *std::move(file);
  if (mode == RestoreMode::kDryRun) return table;
  auto locked = lock_table_file(table.file.get());
  if (!locked) return pass(locked, "release");
  return table;
}

}  // namespace

Result<std::vector<ReleasedKnob>> release_all(const std::string& dir,
                                              const std::string& cgroup_mount,
                                              RestoreMode mode) {
  auto boot_id = read_boot_id();
  if (!boot_id) return pass(boot_id, "release");
  Fd mount{::open(cgroup_mount.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (!mount) return fail(errno, "open " + cgroup_mount);
  auto table = open_table(dir, mode);
  if (!table) return tl::unexpected<Error>(std::move(table.error()));
  Release release{std::move(mount), *boot_id, mode};
  if (table->file) {
    // One that is no table, or of another boot, says nothing.
    auto mapping = BaselineMapping::map(table->file.get());
    if (mapping && mapping->is_of(*boot_id)) release.by_table(mapping->file());
  }
  release.by_marks("");
  return release.take_knobs();
}

}  // namespace outrider
