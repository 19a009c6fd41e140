// SPDX-License-Identifier: Apache-2.0
#include "agent/baseline/restore.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "agent/baseline/record.h"
#include "agent/sys/fd.h"

namespace outrider {
namespace {

constexpr std::string_view kQuota = "cpu.max";
constexpr const char* kBurst = "cpu.max.burst";

struct Place {
  int mount = -1;
  BaselineFile& file;
  std::uint32_t seed = 0;
  RestoreMode mode = RestoreMode::kWrite;

  std::uint32_t count() const {
    return std::min(file.header.count.load(std::memory_order_acquire),
                    kBaselineRecordsMax);
  }
};

bool is_gone(int code) { return code == ENOENT || code == ENODEV; }

// "20000 100000" -> 20000; "max 100000" and the like: no limit.
std::uint64_t first_number(std::string_view text) {
  std::uint64_t number = UINT64_MAX;
  (void)std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

// With an end of line: where the file is an ordinary one, it hides what is
// left of a longer text. 0, or the errno.
int write_line(int file, std::string_view text) {
  std::array<char, sizeof(KnobRecord::baseline) + 1> line;
  const std::size_t bytes = text.copy(line.data(), line.size() - 1);
  line[bytes] = '\n';
  const ssize_t put = ::pwrite(file, line.data(), bytes + 1, 0);
  if (put < 0) return errno;
  return put == static_cast<ssize_t>(bytes + 1) ? 0 : EIO;
}

KnobText read_line(int file) {
  KnobText knob;
  const ssize_t got = ::pread(file, knob.buffer, sizeof(knob.buffer), 0);
  if (got < 0) {
    knob.bytes = -errno;
    return knob;
  }
  const char* begin = knob.buffer;
  const char* end = begin + got;
  knob.bytes = static_cast<int>(std::find(begin, end, '\n') - begin);
  return knob;
}

// Writes and reads back: 0, or the errno; EIO when it holds something else.
int put_back(int file, std::string_view baseline) {
  const int code = write_line(file, baseline);
  if (code != 0) return code;
  const KnobText now = read_line(file);
  if (now.bytes < 0) return -now.bytes;
  return same_words(now.text(), baseline) ? 0 : EIO;
}

// The record of the same cgroup's burst, if we have one. Asked for only where
// a burst is in the way, which is rare: no index for it.
BaselineRecord* burst_of(const Place& place, std::uint64_t cgroup_id) {
  for (std::uint32_t i = 0; i < place.count(); ++i) {
    BaselineRecord& record = place.file.records[i];
    KnobRecord knob;
    if (record.knob.cgroup_id == cgroup_id &&
        copy_knob(record, place.seed, knob) == RecordSort::kGood &&
        attribute_of(knob) == kBurst) {
      return &record;
    }
  }
  return nullptr;
}

// The kernel refuses a quota below the burst: a burst of ours that is above
// the quota to be restored is set to 0 first; its own turn comes after.
void make_room_for_quota(const Place& place, int cgroup,
                         const KnobRecord& quota) {
  const std::uint64_t limit = first_number(baseline_of(quota));
  if (limit == UINT64_MAX) return;
  const Fd file{::openat(cgroup, kBurst, O_RDWR | O_CLOEXEC)};
  if (!file) return;
  const KnobText burst = read_line(file.get());
  if (burst.bytes <= 0 || first_number(burst.text()) <= limit) return;
  BaselineRecord* record = burst_of(place, quota.cgroup_id);
  if (record == nullptr || !is_ours(*record, burst.text())) return;
  // Before the write, so that the 0 is known to be ours if we are killed now.
  put_written(*record, kRestorerText, "0");
  (void)write_line(file.get(),
                   "0");  // refused: so is the quota, and that tells
}

RestoreStep finished(RestoreStep step, RestoreOutcome outcome, int code = 0) {
  step.outcome = is_gone(code) ? RestoreOutcome::kGone : outcome;
  step.code = code;
  return step;
}

Fd open_same_cgroup(const Place& place, const KnobRecord& knob) {
  const char* path = knob.cgroup + (knob.cgroup[0] == '/' ? 1 : 0);
  Fd dir{::openat(place.mount, path[0] == '\0' ? "." : path,
                  O_PATH | O_DIRECTORY | O_CLOEXEC)};
  struct stat facts {};
  if (!dir || ::fstat(dir.get(), &facts) != 0) return Fd{};
  if (facts.st_ino == knob.cgroup_id) return dir;
  errno = ENOENT;  // a new cgroup of that name
  return Fd{};
}

RestoreStep restore_knob(const Place& place, const BaselineRecord& record,
                         const KnobRecord& knob, KnobText& present,
                         RestoreStep step) {
  const Fd dir = open_same_cgroup(place, knob);
  if (!dir) return finished(step, RestoreOutcome::kFailed, errno);
  const Fd file{::openat(dir.get(), knob.attribute,
                         place.mode == RestoreMode::kWrite
                             ? O_RDWR | O_CLOEXEC
                             : O_RDONLY | O_CLOEXEC)};
  if (!file) return finished(step, RestoreOutcome::kFailed, errno);
  present = read_line(file.get());
  if (present.bytes < 0) {
    return finished(step, RestoreOutcome::kFailed, -present.bytes);
  }
  step.present = present.text();
  if (same_words(step.present, step.baseline)) {
    return finished(step, RestoreOutcome::kAlready);
  }
  if (!is_ours(record, step.present)) {
    return finished(step, RestoreOutcome::kForeign);
  }
  if (place.mode == RestoreMode::kDryRun) {
    return finished(step, RestoreOutcome::kRestored);
  }
  if (step.attribute == kQuota) make_room_for_quota(place, dir.get(), knob);
  const int code = put_back(file.get(), step.baseline);
  return code == 0 ? finished(step, RestoreOutcome::kRestored)
                   : finished(step, RestoreOutcome::kFailed, code);
}

void tell(RestoreReport& report, const RestoreStep& step,
          const RestoreVisitor& visitor) {
  switch (step.outcome) {
    case RestoreOutcome::kRestored:
      ++report.restored;
      break;
    case RestoreOutcome::kAlready:
      ++report.already;
      break;
    case RestoreOutcome::kForeign:
      ++report.foreign;
      break;
    case RestoreOutcome::kGone:
      ++report.gone;
      break;
    case RestoreOutcome::kFailed:
      ++report.failed;
      break;
    case RestoreOutcome::kBad:
      ++report.bad;
      break;
  }
  if (visitor) visitor(step);
}

}  // namespace

RestoreReport restore_all(int mount, BaselineFile& file, RestoreMode mode,
                          const RestoreVisitor& visitor) {
  const BaselineHeader& header = file.header;
  const Place place{
      mount, file,
      boot_seed(padded_text(header.boot_id, sizeof(header.boot_id))), mode};
  RestoreReport report;
  // Bursts last: they must fit below the quotas.
  for (const bool bursts : {false, true}) {
    for (std::uint32_t i = 0; i < place.count(); ++i) {
      const BaselineRecord& record = file.records[i];
      KnobRecord knob;
      KnobText present;
      const RecordSort sort = copy_knob(record, place.seed, knob);
      if (sort == RecordSort::kNone) continue;
      RestoreStep step;
      step.record = i;
      if (sort == RecordSort::kBad) {
        if (!bursts) tell(report, step, visitor);
        continue;
      }
      if ((attribute_of(knob) == kBurst) != bursts) continue;
      step.cgroup = cgroup_of(knob);
      step.attribute = attribute_of(knob);
      step.baseline = baseline_of(knob);
      tell(report, restore_knob(place, record, knob, present, step), visitor);
    }
  }
  return report;
}

MarkedStep restore_marked(int cgroup, const Mark& mark, RestoreMode mode) {
  MarkedStep step;
  const auto end = [&step](RestoreOutcome outcome, int code) {
    step.outcome = is_gone(code) ? RestoreOutcome::kGone : outcome;
    step.code = code;
    return step;
  };
  const Fd file{::openat(cgroup, mark.attribute.c_str(), O_RDWR | O_CLOEXEC)};
  if (!file) return end(RestoreOutcome::kFailed, errno);
  step.present = read_line(file.get());
  if (step.present.bytes < 0) {
    return end(RestoreOutcome::kFailed, -step.present.bytes);
  }
  if (same_words(step.present.text(), mark.baseline)) {
    return end(RestoreOutcome::kAlready, 0);
  }
  if (mode == RestoreMode::kDryRun) return end(RestoreOutcome::kRestored, 0);
  const int code = put_back(file.get(), mark.baseline);
  return end(code == 0 ? RestoreOutcome::kRestored : RestoreOutcome::kFailed,
             code);
}

}  // namespace outrider
