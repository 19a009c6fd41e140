// SPDX-License-Identifier: Apache-2.0
#include "agent/baseline/restore.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <compare>
#include <cstring>
#include <span>

#include "agent/baseline/record.h"
#include "agent/sys/fd.h"

namespace outrider {
namespace {

constexpr std::string_view kQuota = "cpu.max";
constexpr const char* kBurst = "cpu.max.burst";

/// One record's turn. All knobs of a cgroup follow one another, as it is opened
/// but once; its burst is last, as it must fit below the quota.
struct Turn {
  std::uint64_t cgroup_id = 0;
  bool is_burst = false;
  std::uint32_t record = 0;

  friend auto operator<=>(const Turn&, const Turn&) = default;
};

// Not on the stack: whoever locks its memory has it before it is needed.
std::array<Turn, kBaselineRecordsMax> turns_kept;

struct Place {
  int mount = -1;
  BaselineFile& file;
  std::uint32_t seed = 0;
  RestoreMode mode = RestoreMode::kWrite;
  std::span<const Turn> turns{};
  Fd cgroup{};  // of the turn before
  std::uint64_t cgroup_id = 0;

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

// The most that we may have written there.
std::uint64_t most_written(const BaselineRecord& record) {
  std::uint64_t most = 0;
  for (const WrittenText& written : record.written) {
    if (written.crc.load(std::memory_order_acquire) == 0) continue;
    const auto text = padded_text(written.text, sizeof(written.text));
    most = std::max(most, first_number(text));
  }
  return most;
}

// The record of the same cgroup's burst, if we have one: its turn comes later.
BaselineRecord* burst_after(const Place& place, std::size_t turn) {
  const std::uint64_t id = place.turns[turn].cgroup_id;
  for (std::size_t i = turn + 1; i < place.turns.size(); ++i) {
    if (place.turns[i].cgroup_id != id) break;
    if (!place.turns[i].is_burst) continue;
    BaselineRecord& record = place.file.records[place.turns[i].record];
    KnobRecord knob;
    const RecordSort sort = copy_knob(record, place.seed, knob);
    return sort == RecordSort::kGood ? &record : nullptr;
  }
  return nullptr;
}

// The kernel refuses a quota below the burst: a burst of ours that is above
// the quota to be restored is set to 0 first; its own turn comes after.
void make_room_for_quota(const Place& place, int cgroup, std::size_t turn,
                         std::string_view quota) {
  const std::uint64_t limit = first_number(quota);
  if (limit == UINT64_MAX) return;
  BaselineRecord* record = burst_after(place, turn);
  if (record == nullptr || most_written(*record) <= limit) return;
  const Fd file{::openat(cgroup, kBurst, O_RDWR | O_CLOEXEC)};
  if (!file) return;
  const KnobText burst = read_line(file.get());
  if (burst.bytes <= 0 || first_number(burst.text()) <= limit) return;
  if (!is_ours(*record, burst.text())) return;
  // Before the write, so that the 0 is known to be ours if we are killed now.
  put_written(*record, kRestorerText, "0");
  (void)write_line(file.get(), "0");  // refused: so is the quota
}

RestoreStep finished(RestoreStep step, RestoreOutcome outcome, int code = 0) {
  step.outcome = is_gone(code) ? RestoreOutcome::kGone : outcome;
  step.code = code;
  return step;
}

// Into place.cgroup; 0, or the errno.
int open_same_cgroup(Place& place, const KnobRecord& knob) {
  if (place.cgroup && place.cgroup_id == knob.cgroup_id) return 0;
  const char* path = knob.cgroup + (knob.cgroup[0] == '/' ? 1 : 0);
  place.cgroup = Fd{::openat(place.mount, path[0] == '\0' ? "." : path,
                             O_PATH | O_DIRECTORY | O_CLOEXEC)};
  struct stat facts {};
  if (!place.cgroup || ::fstat(place.cgroup.get(), &facts) != 0) return errno;
  place.cgroup_id = facts.st_ino;
  return facts.st_ino == knob.cgroup_id ? 0 : ENOENT;  // a new one of that name
}

RestoreStep restore_knob(Place& place, std::size_t turn, const KnobRecord& knob,
                         KnobText& present, RestoreStep step) {
  const BaselineRecord& record = place.file.records[step.record];
  const int opened = open_same_cgroup(place, knob);
  if (opened != 0) return finished(step, RestoreOutcome::kFailed, opened);
  const int dir = place.cgroup.get();
  const Fd file{::openat(dir, knob.attribute,
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
  if (step.attribute == kQuota) {
    make_room_for_quota(place, dir, turn, step.baseline);
  }
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

void take_turn(Place& place, std::size_t turn, RestoreReport& report,
               const RestoreVisitor& visitor) {
  RestoreStep step;
  step.record = place.turns[turn].record;
  KnobRecord knob;
  KnobText present;
  const RecordSort sort =
      copy_knob(place.file.records[step.record], place.seed, knob);
  if (sort == RecordSort::kNone) return;
  if (sort == RecordSort::kGood) {
    step.cgroup = cgroup_of(knob);
    step.attribute = attribute_of(knob);
    step.baseline = baseline_of(knob);
    step = restore_knob(place, turn, knob, present, step);
  }
  tell(report, step, visitor);
}

std::span<const Turn> turns_of(const BaselineFile& file, std::uint32_t count) {
  const std::span<Turn> turns{turns_kept.data(), count};
  for (std::uint32_t i = 0; i < count; ++i) {
    const KnobRecord& knob = file.records[i].knob;
    turns[i] = {.cgroup_id = knob.cgroup_id,
                .is_burst = attribute_of(knob) == kBurst,
                .record = i};
  }
  std::ranges::sort(turns);
  return turns;
}

}  // namespace

RestoreReport restore_all(int mount, BaselineFile& file, RestoreMode mode,
                          const RestoreVisitor& visitor) {
  const BaselineHeader& header = file.header;
  Place place{
      .mount = mount,
      .file = file,
      .seed = boot_seed(padded_text(header.boot_id, sizeof(header.boot_id))),
      .mode = mode};
  place.turns = turns_of(file, place.count());
  RestoreReport report;
  for (std::size_t i = 0; i < place.turns.size(); ++i) {
    take_turn(place, i, report, visitor);
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
