// SPDX-License-Identifier: Apache-2.0
#include "agent/baseline/table.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <optional>

#include "agent/baseline/lock.h"
#include "agent/baseline/mapping.h"
#include "agent/baseline/mark.h"
#include "agent/baseline/record.h"
#include "agent/sys/fd.h"

namespace outrider {
namespace {

void put_text(std::string_view text, char* room, std::size_t bytes) {
  std::memset(room, 0, bytes);
  text.copy(room, bytes - 1);
}

Result<> check_bounds(const KnobBaseline& knob) {
  const bool fits = knob.cgroup.size() < sizeof(KnobRecord::cgroup) &&
                    knob.attribute.size() < sizeof(KnobRecord::attribute) &&
                    knob.baseline.size() < sizeof(KnobRecord::baseline);
  if (!fits) {
    return fail(ENAMETOOLONG,
                "baseline of " + knob.cgroup + "/" + knob.attribute);
  }
  if (knob.cgroup_id == 0 || !knob.cgroup.starts_with('/') ||
      knob.attribute.empty() || knob.baseline.empty() ||
      knob.attribute.find('/') != std::string::npos) {
    return fail(EINVAL, "no knob: " + knob.cgroup + "/" + knob.attribute);
  }
  return {};
}

// What has memory behind it cannot end in SIGBUS when the tmpfs is full.
Result<> reserve(int file, std::size_t offset, std::size_t bytes) {
  if (::fallocate(file, 0, static_cast<off_t>(offset),
                  static_cast<off_t>(bytes)) != 0 &&
      errno != EOPNOTSUPP) {
    return fail(errno, "room in the table of baselines");
  }
  return {};
}

void start_header(BaselineHeader& header, const std::string& boot_id) {
  header.count.store(0);
  header.version = kBaselineVersion;
  header.record_bytes = sizeof(BaselineRecord);
  put_text(boot_id, header.boot_id, sizeof(header.boot_id));
  header.magic = kBaselineMagic;
}

}  // namespace

struct BaselineTable::Inside {
  Fd file;
  Fd name;  // the abstract socket
  Fd mount;
  BaselineMapping mapping;
  MarkOwner owner;
  std::uint32_t seed = 0;

  BaselineFile& table() const { return mapping.file(); }
  BaselineRecord& record(BaselineSlot slot) const {
    const auto index = static_cast<std::uint32_t>(slot);
    assert(index < table().header.count.load(std::memory_order_relaxed));
    return table().records[index];
  }

  void drop_what_is_bad();
  std::optional<std::uint32_t> find(const KnobBaseline& knob) const;
  Result<std::uint32_t> find_room();
  Result<std::string> mark(const KnobBaseline& knob) const;
};

// Torn or forged: nobody may act by them, so they are only in the way.
void BaselineTable::Inside::drop_what_is_bad() {
  const std::uint32_t count =
      std::min(table().header.count.load(), kBaselineRecordsMax);
  table().header.count.store(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    KnobRecord knob;
    if (copy_knob(table().records[i], seed, knob) == RecordSort::kBad) {
      table().records[i].state.store(RecordState::kFree);
    }
  }
}

std::optional<std::uint32_t> BaselineTable::Inside::find(
    const KnobBaseline& knob) const {
  for (std::uint32_t i = 0; i < table().header.count.load(); ++i) {
    const BaselineRecord& record = table().records[i];
    if (record.state.load() == RecordState::kLive &&
        record.knob.cgroup_id == knob.cgroup_id &&
        attribute_of(record.knob) == knob.attribute) {
      return i;
    }
  }
  return std::nullopt;
}

Result<std::uint32_t> BaselineTable::Inside::find_room() {
  auto& count = table().header.count;
  std::uint32_t i = 0;
  while (i < count.load() &&
         table().records[i].state.load() != RecordState::kFree) {
    ++i;
  }
  if (i == kBaselineRecordsMax) {
    return fail(ENOSPC, "the table of baselines is full");
  }
  if (i == count.load()) {
    constexpr std::size_t kEach = sizeof(BaselineRecord);
    auto reserved =
        reserve(file.get(), offsetof(BaselineFile, records) + i * kEach, kEach);
    if (!reserved) return tl::unexpected<Error>(std::move(reserved.error()));
    table().records[i].state.store(RecordState::kFree);
    count.store(i + 1, std::memory_order_release);
  }
  return i;
}

// Sets the xattr. Gives the baseline: an earlier agent's, where its xattr is
// still there, for what the knob holds now may be that agent's doing.
Result<std::string> BaselineTable::Inside::mark(
    const KnobBaseline& knob) const {
  auto dir = open_cgroup(mount.get(), knob.cgroup, knob.cgroup_id);
  if (!dir) return pass(dir, "baseline");
  Mark wanted{knob.attribute, knob.baseline};
  for (const Mark& mark :
       read_marks(dir->get(), knob.cgroup_id, owner.boot_id)) {
    if (mark.attribute == knob.attribute) wanted.baseline = mark.baseline;
  }
  auto set = set_mark(dir->get(), knob.cgroup_id, wanted, owner);
  if (!set && set.error().code != ENOTSUP) return pass(set, "baseline");
  return wanted.baseline;
}

BaselineTable::BaselineTable(std::unique_ptr<Inside> inside)
    : inside_(std::move(inside)) {}
BaselineTable::BaselineTable(BaselineTable&&) noexcept = default;
BaselineTable& BaselineTable::operator=(BaselineTable&&) noexcept = default;
BaselineTable::~BaselineTable() = default;

Result<BaselineTable> BaselineTable::open(const std::string& dir,
                                          const std::string& cgroup_mount) {
  auto boot_id = read_boot_id();
  if (!boot_id) return pass(boot_id, "baseline");
  Fd mount{::open(cgroup_mount.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (!mount) return fail(errno, "open " + cgroup_mount);
  auto file = open_table_file(dir);
  if (!file) return pass(file, "baseline");
  auto name = take_socket_name(dir);
  if (!name) return pass(name, "baseline");
  auto locked = lock_table_file(file->get());
  if (!locked) return pass(locked, "baseline");
  // Sparse: room for records is reserved one by one.
  if (::ftruncate(file->get(), sizeof(BaselineFile)) != 0) {
    return fail(errno, "size of the table of baselines");
  }
  auto reserved = reserve(file->get(), 0, sizeof(BaselineHeader));
  if (!reserved) return pass(reserved, "baseline");
  auto mapping = BaselineMapping::map(file->get());
  if (!mapping) return pass(mapping, "baseline");

  const std::int32_t pid = ::getpid();
  const std::uint32_t seed = boot_seed(*boot_id);
  auto inside = std::make_unique<Inside>(Inside{
      *std::move(file), *std::move(name), std::move(mount), *std::move(mapping),
      MarkOwner{*boot_id, pid, read_start_ticks(pid)}, seed});
  BaselineHeader& header = inside->table().header;
  if (!inside->mapping.is_of(*boot_id)) start_header(header, *boot_id);
  inside->drop_what_is_bad();
  header.owner_pid = pid;
  header.owner_start_ticks = inside->owner.start_ticks;
  header.heartbeat_ns.store(0);
  return BaselineTable{std::move(inside)};
}

Result<BaselineSlot> BaselineTable::remember(const KnobBaseline& knob) {
  auto bounds = check_bounds(knob);
  if (!bounds) return tl::unexpected<Error>(std::move(bounds.error()));
  const auto known = inside_->find(knob);
  if (known) {
    const BaselineRecord& record = inside_->table().records[*known];
    const bool undisturbed =
        is_ours(record, knob.baseline) ||
        same_words(baseline_of(record.knob), knob.baseline);
    if (undisturbed) return BaselineSlot{*known};
    forget(BaselineSlot{*known});  // somebody else has written since
  }
  auto room = inside_->find_room();
  if (!room) return tl::unexpected<Error>(std::move(room.error()));
  auto baseline = inside_->mark(knob);
  if (!baseline) return tl::unexpected<Error>(std::move(baseline.error()));

  BaselineRecord& record = inside_->table().records[*room];
  record.knob.cgroup_id = knob.cgroup_id;
  record.knob.cgroup_bytes = static_cast<std::uint32_t>(knob.cgroup.size());
  put_text(knob.attribute, record.knob.attribute,
           sizeof(record.knob.attribute));
  put_text(*baseline, record.knob.baseline, sizeof(record.knob.baseline));
  put_text(knob.cgroup, record.knob.cgroup, sizeof(record.knob.cgroup));
  record.crc = seal(record.knob, inside_->seed);
  for (std::uint32_t i = 0; i <= kRestorerText; ++i) clear_written(record, i);
  // Where the baseline is an earlier agent's, what stands there is ours too.
  record.confirmed = 0;
  record.announced = 0;
  put_written(record, 0, knob.baseline);
  record.state.store(RecordState::kLive, std::memory_order_release);
  return BaselineSlot{*room};
}

void BaselineTable::announce(BaselineSlot slot, std::string_view text) {
  BaselineRecord& record = inside_->record(slot);
  // Neither what was confirmed nor what was announced last is overwritten: one
  // of them stands in the knob now.
  std::uint32_t next = 0;
  while (next == record.confirmed || next == record.announced) ++next;
  assert(next < kAgentTexts);
  put_written(record, next, text);
  record.announced = next;
}

void BaselineTable::confirm(BaselineSlot slot, std::string_view text) {
  BaselineRecord& record = inside_->record(slot);
  std::uint32_t holder = record.announced;
  if (!holds_written(record, holder, text)) {
    announce(slot, text);
    holder = record.announced;
  }
  record.confirmed = holder;
  for (std::uint32_t i = 0; i <= kRestorerText; ++i) {
    if (i != holder) clear_written(record, i);
  }
}

std::string_view BaselineTable::baseline(BaselineSlot slot) const {
  return baseline_of(inside_->record(slot).knob);
}

void BaselineTable::forget(BaselineSlot slot) {
  BaselineRecord& record = inside_->record(slot);
  // The xattr first: without a record it would be believed.
  auto dir = open_cgroup(inside_->mount.get(), cgroup_of(record.knob),
                         record.knob.cgroup_id);
  if (dir) {
    // Where it cannot be removed, there never was one.
    (void)remove_mark(dir->get(), attribute_of(record.knob));
  }
  record.state.store(RecordState::kFree, std::memory_order_release);
}

void BaselineTable::beat(std::uint64_t monotonic_ns) {
  inside_->table().header.heartbeat_ns.store(monotonic_ns,
                                             std::memory_order_release);
}

std::uint64_t BaselineTable::generation() const {
  return inside_->table().header.generation.load(std::memory_order_acquire);
}

int BaselineTable::fd() const { return inside_->file.get(); }

}  // namespace outrider
