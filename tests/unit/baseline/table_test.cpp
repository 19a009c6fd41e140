// SPDX-License-Identifier: Apache-2.0
#include "agent/baseline/table.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#include <cerrno>
#include <fstream>

#include "agent/baseline/mark.h"
#include "tests/unit/baseline/fake_tree.h"

namespace outrider {
namespace {

constexpr const char* kMax = "max 100000";
constexpr const char* kMark = "user.outrider.baseline.cpu.max";

class Table : public FakeTree {
 protected:
  std::string mark_text(const std::string& cgroup = "/vm") {
    char value[256];
    const ssize_t got =
        ::getxattr((mount() + cgroup).c_str(), kMark, value, sizeof(value));
    return got < 0 ? "" : std::string(value, static_cast<std::size_t>(got));
  }
  void put_mark(const std::string& value) {
    ASSERT_EQ(::setxattr((mount() + "/vm").c_str(), kMark, value.data(),
                         value.size(), 0),
              0);
  }
  // Not every file system that TempDir may be on has user.* xattrs.
  bool has_xattrs() {
    return ::setxattr(mount().c_str(), "user.test", "1", 1, 0) == 0;
  }
};

TEST_F(Table, KeepsTheBaselineOverARestart) {
  const KnobBaseline quota = knob("cpu.max", kMax);
  {
    BaselineTable table = open();
    set(table, remember(table, quota), quota, "20000 100000");
  }
  BaselineTable table = open();
  EXPECT_EQ(table.baseline(remember(table, knob("cpu.max", "20000 100000"))),
            kMax);
  EXPECT_EQ(restore(table).restored, 1U);
}

// The agent died, all was put back, and an operator then chose another value.
TEST_F(Table, TakesWhatSomebodyElseWroteSinceAsTheBaseline) {
  const KnobBaseline quota = knob("cpu.max", kMax);
  {
    BaselineTable table = open();
    set(table, remember(table, quota), quota, "20000 100000");
  }
  BaselineTable table = open();
  const BaselineSlot slot = remember(table, knob("cpu.max", "70000 100000"));
  EXPECT_EQ(table.baseline(slot), "70000 100000");
}

TEST_F(Table, GivesOneSlotAKnob) {
  BaselineTable table = open();
  const KnobBaseline quota = knob("cpu.max", kMax);
  const KnobBaseline weight = knob("cpu.weight", "100");
  EXPECT_EQ(remember(table, quota), remember(table, quota));
  EXPECT_NE(remember(table, quota), remember(table, weight));
}

TEST_F(Table, UsesForgottenSlotsAgain) {
  BaselineTable table = open();
  const BaselineSlot slot = remember(table, knob("cpu.max", kMax));
  table.forget(slot);
  EXPECT_EQ(restore(table).already, 0U);
  EXPECT_EQ(remember(table, knob("cpu.weight", "100")), slot);
}

TEST_F(Table, SaysWhenItIsFull) {
  BaselineTable table = open();
  const KnobBaseline quota = knob("cpu.max", kMax);
  auto mapping = BaselineMapping::map(table.fd());
  for (BaselineRecord& record : mapping->file().records) {
    record.state.store(RecordState::kLive);
  }
  mapping->file().header.count.store(kBaselineRecordsMax);
  EXPECT_EQ(table.remember(quota).error().code, ENOSPC);
  mapping->file().records[kBaselineRecordsMax - 1].state.store(
      RecordState::kFree);
  EXPECT_EQ(remember(table, quota), BaselineSlot{kBaselineRecordsMax - 1});
}

TEST_F(Table, RefusesWhatPassesABound) {
  BaselineTable table = open();
  const KnobBaseline good = knob("cpu.max", kMax);
  KnobBaseline bad = good;
  bad.baseline = std::string(48, '1');
  EXPECT_EQ(table.remember(bad).error().code, ENAMETOOLONG);
  bad = good;
  bad.attribute = std::string(32, 'a');
  EXPECT_EQ(table.remember(bad).error().code, ENAMETOOLONG);
  bad = good;
  bad.cgroup = "/" + std::string(1023, 'a');
  EXPECT_EQ(table.remember(bad).error().code, ENAMETOOLONG);
  bad = good;
  bad.attribute = "../cpu.max";
  EXPECT_EQ(table.remember(bad).error().code, EINVAL);
  bad = good;
  bad.cgroup_id += 1;
  EXPECT_EQ(table.remember(bad).error().code, ENOENT);
}

TEST_F(Table, RefusesASecondAgent) {
  BaselineTable first = open();
  auto second = BaselineTable::open(dir(), mount());
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error().code, EWOULDBLOCK);
  EXPECT_NE(second.error().what.find("another agent"), std::string::npos);
}

// The socket's name holds where the file was removed, the lock where only the
// name is free: a process that has the file of a dead agent, as wardens have.
TEST_F(Table, RefusesASecondAgentThoughTheFileIsGone) {
  BaselineTable first = open();
  std::filesystem::remove(dir() + "/baseline");
  EXPECT_EQ(BaselineTable::open(dir(), mount()).error().code, EWOULDBLOCK);
}

TEST_F(Table, WaitsForTheWardenOfADeadAgent) {
  int ends[2];
  int up[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  ASSERT_EQ(::pipe2(up, O_CLOEXEC), 0);
  const pid_t agent = ::fork();
  if (agent == 0) {
    BaselineTable table = open();
    const pid_t warden = ::fork();  // has the lock, and lives a little longer
    if (warden == 0) {
      char byte = 0;
      for (int fd = 3; fd < 100; ++fd) {  // as exec does
        if (fd != table.fd() && fd != ends[0] && fd != up[1]) ::close(fd);
      }
      ::close(up[1]);
      (void)!::read(ends[0], &byte, 1);  // until the test looks
      ::_exit(0);
    }
    char byte = 0;
    ::close(up[1]);
    (void)!::read(up[0], &byte, 1);  // until it has done so
    ::_exit(0);
  }
  ::close(ends[0]);
  ::close(up[0]);
  ::close(up[1]);
  ASSERT_EQ(::waitpid(agent, nullptr, 0), agent);
  auto early = Fd{::open((dir() + "/baseline").c_str(), O_RDWR | O_CLOEXEC)};
  struct flock whole {};
  whole.l_type = F_WRLCK;
  EXPECT_NE(::fcntl(early.get(), F_OFD_SETLK, &whole), 0);  // it is taken
  ::close(ends[1]);
  EXPECT_TRUE(BaselineTable::open(dir(), mount()).has_value());
}

TEST_F(Table, AgentsOfOtherDirectoriesGoOn) {
  BaselineTable first = open();
  EXPECT_TRUE(BaselineTable::open(dir() + "2", mount()).has_value());
  std::filesystem::remove_all(dir() + "2");
}

TEST_F(Table, RefusesADirectoryThatOthersMayWrite) {
  std::filesystem::create_directory(dir());
  ASSERT_EQ(::chmod(dir().c_str(), 0777), 0);
  EXPECT_EQ(BaselineTable::open(dir(), mount()).error().code, EPERM);
}

TEST_F(Table, RefusesAFileThatOthersMayRead) {
  { BaselineTable table = open(); }
  ASSERT_EQ(::chmod((dir() + "/baseline").c_str(), 0644), 0);
  EXPECT_EQ(BaselineTable::open(dir(), mount()).error().code, EPERM);
}

TEST_F(Table, DropsTheRecordsOfAnotherBoot) {
  const KnobBaseline quota = knob("cpu.max", kMax);
  {
    BaselineTable table = open();
    set(table, remember(table, quota), quota, "20000 100000");
    auto mapping = BaselineMapping::map(table.fd());
    mapping->file().header.boot_id[0] ^= 1;
  }
  BaselineTable table = open();
  const RestoreReport report = restore(table);
  EXPECT_EQ(report.restored + report.bad, 0U);
  EXPECT_EQ(read("cpu.max"), "20000 100000");
}

TEST_F(Table, DropsTornRecordsWhenOpened) {
  const KnobBaseline quota = knob("cpu.max", kMax);
  {
    BaselineTable table = open();
    (void)remember(table, quota);
    auto mapping = BaselineMapping::map(table.fd());
    mapping->file().records[0].knob.baseline[0] ^= 1;
  }
  BaselineTable table = open();
  EXPECT_EQ(restore(table).bad, 0U);
}

TEST_F(Table, RestartsAFileOfAnyBytes) {
  { BaselineTable table = open(); }
  std::ofstream(dir() + "/baseline") << std::string(4096, 'x');
  BaselineTable table = open();
  const KnobBaseline quota = knob("cpu.max", kMax);
  set(table, remember(table, quota), quota, "20000 100000");
  EXPECT_EQ(restore(table).restored, 1U);
}

TEST_F(Table, KeepsThePulse) {
  BaselineTable table = open();
  table.beat(42);
  auto mapping = BaselineMapping::map(table.fd());
  EXPECT_EQ(mapping->file().header.heartbeat_ns.load(), 42U);
  const std::uint64_t before = table.generation();
  mapping->file().header.generation.fetch_add(1);
  EXPECT_EQ(table.generation(), before + 1);
}

TEST_F(Table, MarksTheCgroupAsLongAsItRemembers) {
  if (!has_xattrs()) GTEST_SKIP() << "no user.* xattrs here";
  BaselineTable table = open();
  const KnobBaseline quota = knob("cpu.max", kMax);
  const BaselineSlot slot = remember(table, quota);
  const Fd dir{::open((mount() + "/vm").c_str(), O_RDONLY | O_CLOEXEC)};
  const auto marks = read_marks(dir.get(), quota.cgroup_id, *read_boot_id());
  ASSERT_EQ(marks.size(), 1U);
  EXPECT_EQ(marks[0].attribute, "cpu.max");
  EXPECT_EQ(marks[0].baseline, kMax);
  table.forget(slot);
  EXPECT_EQ(mark_text(), "");
}

TEST_F(Table, TakesUpAMarkWhenTheFileIsLost) {
  if (!has_xattrs()) GTEST_SKIP() << "no user.* xattrs here";
  const KnobBaseline quota = knob("cpu.max", kMax);
  {
    BaselineTable table = open();
    set(table, remember(table, quota), quota, "20000 100000");
  }
  std::filesystem::remove(dir() + "/baseline");
  BaselineTable table = open();
  EXPECT_EQ(table.baseline(remember(table, knob("cpu.max", "20000 100000"))),
            kMax);
  EXPECT_EQ(restore(table).restored, 1U);
  EXPECT_EQ(read("cpu.max"), kMax);
}

TEST_F(Table, BelievesNoMarkThatIsTornOrOfAnotherCgroupOrBoot) {
  if (!has_xattrs()) GTEST_SKIP() << "no user.* xattrs here";
  BaselineTable table = open();
  const KnobBaseline quota = knob("cpu.max", kMax);
  (void)remember(table, quota);
  const Fd dir{::open((mount() + "/vm").c_str(), O_RDONLY | O_CLOEXEC)};
  const std::string boot = *read_boot_id();
  const std::string good = mark_text();
  EXPECT_TRUE(read_marks(dir.get(), quota.cgroup_id + 1, boot).empty());
  EXPECT_TRUE(read_marks(dir.get(), quota.cgroup_id, "another").empty());
  for (std::size_t i = 0; i < good.size(); ++i) {
    std::string torn = good;
    torn[i] = static_cast<char>(torn[i] ^ 1);
    put_mark(torn);
    EXPECT_TRUE(read_marks(dir.get(), quota.cgroup_id, boot).empty()) << torn;
    put_mark(good.substr(0, i));
    EXPECT_TRUE(read_marks(dir.get(), quota.cgroup_id, boot).empty()) << i;
  }
  put_mark(good);
  EXPECT_EQ(read_marks(dir.get(), quota.cgroup_id, boot).size(), 1U);
}

}  // namespace
}  // namespace outrider
