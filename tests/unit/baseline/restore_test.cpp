// SPDX-License-Identifier: Apache-2.0
// Whatever happens to the agent, and whatever stands in the table, a knob gets
// its baseline back if and only if it holds what the agent put there.
#include "agent/baseline/restore.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/inotify.h>

#include <cstring>
#include <vector>

#include "tests/unit/baseline/fake_tree.h"
#include "tests/unit/core/allocations.h"

namespace outrider {
namespace {

constexpr const char* kMax = "max 100000";

class Restore : public FakeTree {};

TEST_F(Restore, PutsBackWhatWasWrittenLast) {
  BaselineTable table = open();
  const KnobBaseline quota = knob("cpu.max", kMax);
  const BaselineSlot slot = remember(table, quota);
  for (const char* cap : {"20000 100000", "30000 100000", "40000 100000"}) {
    set(table, slot, quota, cap);
  }
  EXPECT_EQ(restore(table).restored, 1U);
  EXPECT_EQ(read("cpu.max"), kMax);
  EXPECT_EQ(restore(table).already, 1U);  // and can be done again
}

// The agent dies before the announcement, before the write, after it, or after
// the confirmation of each of three caps in a row.
TEST_F(Restore, IsRightWhereverTheAgentDies) {
  for (int steps = 0; steps <= 9; ++steps) {
    SCOPED_TRACE(steps);
    BaselineTable table = open();
    const KnobBaseline quota = knob("cpu.max", kMax);
    const BaselineSlot slot = remember(table, quota);
    const char* caps[] = {"20000 100000", "30000 100000", "40000 100000"};
    for (int step = 0; step < steps; ++step) {
      const char* cap = caps[step / 3];
      if (step % 3 == 0) table.announce(slot, cap);
      if (step % 3 == 1) write("cpu.max", cap);
      if (step % 3 == 2) table.confirm(slot, cap);
    }
    const RestoreReport report = restore(table);
    EXPECT_EQ(report.restored + report.already, 1U);
    EXPECT_EQ(read("cpu.max"), kMax);
    table.forget(slot);
  }
}

// One write follows another before anything is confirmed: all succeeded, or
// none did.
TEST_F(Restore, KnowsAnUnconfirmedWriteFromTheNextAnnouncement) {
  BaselineTable table = open();
  const KnobBaseline quota = knob("cpu.max", kMax);
  const BaselineSlot slot = remember(table, quota);
  set(table, slot, quota, "20000 100000");
  for (const char* cap : {"30000 100000", "40000 100000", "50000 100000"}) {
    table.announce(slot, cap);
    EXPECT_EQ(restore(table).restored, 1U) << cap;  // dies here
    write("cpu.max", cap);
  }
  EXPECT_EQ(restore(table).restored, 1U);
  write("cpu.max", "20000 100000");  // none of the writes succeeded
  EXPECT_EQ(restore(table).restored, 1U);
}

TEST_F(Restore, LeavesAForeignValueAlone) {
  BaselineTable table = open();
  const KnobBaseline quota = knob("cpu.max", kMax);
  const BaselineSlot slot = remember(table, quota);
  set(table, slot, quota, "20000 100000");
  set(table, slot, quota, "30000 100000");
  // The last is our own, but of long ago: it is somebody else's decision now.
  for (const char* foreign : {"70000 100000", "30000 50000", "20000 100000"}) {
    write("cpu.max", foreign);
    EXPECT_EQ(restore(table).foreign, 1U) << foreign;
    EXPECT_EQ(read("cpu.max"), foreign);
  }
}

TEST_F(Restore, DoesNotMindBlanks) {
  BaselineTable table = open();
  const KnobBaseline quota = knob("cpu.max", kMax);
  const BaselineSlot slot = remember(table, quota);
  set(table, slot, quota, "20000 100000");
  write("cpu.max", " 20000\t100000 ");
  EXPECT_EQ(restore(table).restored, 1U);
}

TEST_F(Restore, ForgetsACgroupWhoseNameIsUsedAgain) {
  BaselineTable table = open();
  const KnobBaseline quota = knob("cpu.max", kMax);
  set(table, remember(table, quota), quota, "20000 100000");
  std::filesystem::rename(mount() + "/vm", mount() + "/old");
  knob("cpu.max", "20000 100000");  // a new /vm that holds the same
  EXPECT_EQ(restore(table).gone, 1U);
  EXPECT_EQ(read("cpu.max"), "20000 100000");
}

TEST_F(Restore, CountsWhatVanished) {
  BaselineTable table = open();
  const KnobBaseline quota = knob("cpu.max", kMax);
  set(table, remember(table, quota), quota, "20000 100000");
  std::filesystem::remove_all(mount() + "/vm");
  EXPECT_EQ(restore(table).gone, 1U);
}

// A wrong bit anywhere in what is sealed makes the record void; behind that
// (there every 64th byte is tried) it changes nothing.
TEST_F(Restore, SkipsARecordTornAtAnyByte) {
  BaselineTable table = open();
  const KnobBaseline quota = knob("cpu.max", kMax);
  set(table, remember(table, quota), quota, "20000 100000");
  auto mapping = BaselineMapping::map(table.fd());
  KnobRecord& record = mapping->file().records[0].knob;
  auto* bytes = reinterpret_cast<unsigned char*>(&record);
  const std::size_t sealed =
      offsetof(KnobRecord, cgroup) + quota.cgroup.size() + 1;
  for (std::size_t i = 0; i < sizeof(record); i += i < sealed ? 1 : 64) {
    bytes[i] ^= 0x40;
    write("cpu.max", "20000 100000");
    const RestoreReport report = restore(table);
    EXPECT_EQ(report.bad, i < sealed ? 1U : 0U) << "byte " << i;
    EXPECT_EQ(read("cpu.max"), i < sealed ? "20000 100000" : kMax);
    bytes[i] ^= 0x40;
  }
}

// Half of an announcement, cut at any byte, is no text; what was confirmed
// before it still is.
TEST_F(Restore, SkipsAnAnnouncementTornAtAnyByte) {
  BaselineTable table = open();
  const KnobBaseline quota = knob("cpu.max", kMax);
  const BaselineSlot slot = remember(table, quota);
  set(table, slot, quota, "20000 100000");
  table.announce(slot, "30000 100000");
  auto mapping = BaselineMapping::map(table.fd());
  BaselineRecord& record = mapping->file().records[0];
  auto* bytes =
      reinterpret_cast<unsigned char*>(&record.written[record.announced]);
  for (std::size_t i = 0; i < sizeof(WrittenText); ++i) {
    bytes[i] ^= 0x01;
    write("cpu.max", "30000 100000");
    EXPECT_EQ(restore(table).foreign, 1U) << "byte " << i;
    write("cpu.max", "20000 100000");
    EXPECT_EQ(restore(table).restored, 1U) << "byte " << i;
    bytes[i] ^= 0x01;
  }
}

TEST_F(Restore, SkipsForgedRecords) {
  BaselineTable table = open();
  const KnobBaseline quota = knob("cpu.max", kMax);
  set(table, remember(table, quota), quota, "20000 100000");
  auto mapping = BaselineMapping::map(table.fd());
  BaselineRecord& record = mapping->file().records[0];
  const std::uint32_t seed = boot_seed(*read_boot_id());
  const KnobRecord good = record.knob;

  record.crc = seal(record.knob, boot_seed("another boot"));
  EXPECT_EQ(restore(table).bad, 1U);
  record.knob.cgroup_id += 1;  // well sealed, but no such cgroup is there
  record.crc = seal(record.knob, seed);
  EXPECT_EQ(restore(table).gone, 1U);
  record.knob = good;
  std::strcpy(record.knob.attribute, "../vm/cpu.max");
  record.crc = seal(record.knob, seed);
  EXPECT_EQ(restore(table).bad, 1U);
  record.knob = good;
  std::memset(record.knob.attribute, 'a', sizeof(record.knob.attribute));
  record.crc = seal(record.knob, seed);
  EXPECT_EQ(restore(table).bad, 1U);
  record.knob = good;
  record.crc = seal(record.knob, seed);
  record.state.store(RecordState{7});
  EXPECT_EQ(restore(table).bad, 1U);
  EXPECT_EQ(read("cpu.max"), "20000 100000");
}

TEST_F(Restore, TrustsNoCountBeyondTheTable) {
  BaselineTable table = open();
  const KnobBaseline quota = knob("cpu.max", kMax);
  set(table, remember(table, quota), quota, "20000 100000");
  auto mapping = BaselineMapping::map(table.fd());
  mapping->file().header.count.store(UINT32_MAX);
  EXPECT_EQ(restore(table).restored, 1U);
}

// Names of files that were written in /vm, in order.
class WriteWatch {
 public:
  explicit WriteWatch(const std::string& path)
      : fd_(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK)) {
    EXPECT_GE(::inotify_add_watch(fd_.get(), path.c_str(), IN_MODIFY), 0);
  }
  std::vector<std::string> take() {
    std::vector<std::string> names;
    alignas(inotify_event) char buffer[4096];
    const ssize_t got = ::read(fd_.get(), buffer, sizeof(buffer));
    for (ssize_t at = 0; at < got;) {
      const auto* event = reinterpret_cast<inotify_event*>(buffer + at);
      names.emplace_back(event->name);
      at += static_cast<ssize_t>(sizeof(*event) + event->len);
    }
    return names;
  }

 private:
  Fd fd_;
};

// cpu.max 100 ms with a burst of 80 ms, from 50 ms with 20 ms: a quota of
// 50 ms is refused while the burst is 80.
TEST_F(Restore, LowersTheBurstBeforeAQuotaBelowIt) {
  BaselineTable table = open();
  const KnobBaseline burst = knob("cpu.max.burst", "20000");
  const KnobBaseline quota = knob("cpu.max", "50000 100000");
  set(table, remember(table, burst), burst, "80000");
  set(table, remember(table, quota), quota, "100000 100000");
  WriteWatch watch(mount() + "/vm");
  EXPECT_EQ(restore(table).restored, 2U);
  EXPECT_EQ(watch.take(), (std::vector<std::string>{"cpu.max.burst", "cpu.max",
                                                    "cpu.max.burst"}));
  EXPECT_EQ(read("cpu.max"), "50000 100000");
  EXPECT_EQ(read("cpu.max.burst"), "20000");
}

// From 100 ms with 80 ms: the burst fits only below the quota restored.
TEST_F(Restore, RaisesTheQuotaBeforeABurstAboveIt) {
  BaselineTable table = open();
  const KnobBaseline burst = knob("cpu.max.burst", "80000");
  const KnobBaseline quota = knob("cpu.max", "100000 100000");
  set(table, remember(table, burst), burst, "10000");
  set(table, remember(table, quota), quota, "50000 100000");
  WriteWatch watch(mount() + "/vm");
  EXPECT_EQ(restore(table).restored, 2U);
  EXPECT_EQ(watch.take(),
            (std::vector<std::string>{"cpu.max", "cpu.max.burst"}));
  EXPECT_EQ(read("cpu.max.burst"), "80000");
}

// The restorer itself dies with the burst at 0: the next one goes on.
TEST_F(Restore, KnowsAZeroBurstOfAnEarlierAttempt) {
  BaselineTable table = open();
  const KnobBaseline burst = knob("cpu.max.burst", "20000");
  const KnobBaseline quota = knob("cpu.max", "50000 100000");
  set(table, remember(table, burst), burst, "80000");
  set(table, remember(table, quota), quota, "100000 100000");
  EXPECT_EQ(restore(table).restored, 2U);
  write("cpu.max.burst", "0");
  EXPECT_EQ(restore(table).restored, 1U);
  EXPECT_EQ(read("cpu.max.burst"), "20000");
}

TEST_F(Restore, LeavesAForeignBurstAlone) {
  BaselineTable table = open();
  const KnobBaseline burst = knob("cpu.max.burst", "20000");
  const KnobBaseline quota = knob("cpu.max", "50000 100000");
  set(table, remember(table, burst), burst, "80000");
  set(table, remember(table, quota), quota, "100000 100000");
  write("cpu.max.burst", "90000");
  EXPECT_EQ(restore(table).foreign, 1U);
  EXPECT_EQ(read("cpu.max.burst"), "90000");
}

TEST_F(Restore, WritesNothingInADryRun) {
  BaselineTable table = open();
  const KnobBaseline quota = knob("cpu.max", kMax);
  set(table, remember(table, quota), quota, "20000 100000");
  auto mapping = BaselineMapping::map(table.fd());
  std::vector<std::string> seen;
  const RestoreReport report =
      restore_all(mount_fd(), mapping->file(), RestoreMode::kDryRun,
                  [&seen](const RestoreStep& step) {
                    seen.emplace_back(step.cgroup);
                    seen.emplace_back(step.attribute);
                    seen.emplace_back(step.present);
                    seen.emplace_back(step.baseline);
                  });
  EXPECT_EQ(report.restored, 1U);
  EXPECT_EQ(seen,
            (std::vector<std::string>{"/vm", "cpu.max", "20000 100000", kMax}));
  EXPECT_EQ(read("cpu.max"), "20000 100000");
}

TEST_F(Restore, AllocatesNothing) {
  BaselineTable table = open();
  for (int i = 0; i < 20; ++i) {
    const KnobBaseline quota =
        knob("cpu.max", kMax, "/slice/vm" + std::to_string(i));
    const BaselineSlot slot = remember(table, quota);
    const std::size_t before = allocations();
    table.announce(slot, "20000 100000");
    table.confirm(slot, "20000 100000");
    EXPECT_EQ(allocations(), before);
    write("cpu.max", "20000 100000", quota.cgroup);
  }
  auto mapping = BaselineMapping::map(table.fd());
  const std::size_t before = allocations();
  EXPECT_EQ(restore_all(mount_fd(), mapping->file()).restored, 20U);
  EXPECT_EQ(allocations(), before);
}

}  // namespace
}  // namespace outrider
