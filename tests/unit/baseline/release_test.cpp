// SPDX-License-Identifier: Apache-2.0
#include "agent/baseline/release.h"

#include <sys/xattr.h>

#include <cerrno>
#include <fstream>

#include "tests/unit/baseline/fake_tree.h"

namespace outrider {
namespace {

constexpr const char* kMax = "max 100000";

class Release : public FakeTree {
 protected:
  /// An agent that dies with its cap in place.
  void cap(const std::string& attribute, const std::string& from,
           const std::string& to, const std::string& cgroup = "/vm") {
    BaselineTable table = open();
    const KnobBaseline its = knob(attribute, from, cgroup);
    set(table, remember(table, its), its, to);
  }
  std::vector<ReleasedKnob> release(RestoreMode mode = RestoreMode::kWrite) {
    auto knobs = release_all(dir(), mount(), mode);
    EXPECT_TRUE(knobs.has_value()) << knobs.error().what;
    return *std::move(knobs);
  }
  void lose_the_file() { std::filesystem::remove(dir() + "/baseline"); }
  bool has_xattrs() {
    return ::setxattr(mount().c_str(), "user.test", "1", 1, 0) == 0;
  }
};

TEST_F(Release, PutsBackByTheTableAndForgets) {
  cap("cpu.max", kMax, "20000 100000");
  const auto knobs = release();
  ASSERT_EQ(knobs.size(), 1U);
  EXPECT_EQ(knobs[0].outcome, RestoreOutcome::kRestored);
  EXPECT_EQ(knobs[0].source, ReleaseSource::kTable);
  EXPECT_EQ(knobs[0].cgroup, "/vm");
  EXPECT_EQ(knobs[0].present, "20000 100000");
  EXPECT_EQ(knobs[0].baseline, kMax);
  EXPECT_EQ(read("cpu.max"), kMax);
  EXPECT_TRUE(release().empty());  // neither record nor xattr is left
}

TEST_F(Release, PutsBackByTheXattrsWhenTheFileIsLost) {
  if (!has_xattrs()) GTEST_SKIP() << "no user.* xattrs here";
  cap("cpu.max", kMax, "20000 100000", "/a/vm0");
  cap("cpu.max", "50000 100000", "30000 100000", "/a/b/vm1");
  lose_the_file();
  const auto knobs = release();
  ASSERT_EQ(knobs.size(), 2U);
  EXPECT_EQ(knobs[0].source, ReleaseSource::kXattr);
  EXPECT_EQ(read("cpu.max", "/a/vm0"), kMax);
  EXPECT_EQ(read("cpu.max", "/a/b/vm1"), "50000 100000");
  EXPECT_TRUE(release().empty());
}

TEST_F(Release, PutsBackByTheXattrWhereTheRecordIsTorn) {
  if (!has_xattrs()) GTEST_SKIP() << "no user.* xattrs here";
  cap("cpu.max", kMax, "20000 100000");
  {
    const Fd file{::open((dir() + "/baseline").c_str(), O_RDWR | O_CLOEXEC)};
    auto mapping = BaselineMapping::map(file.get());
    mapping->file().records[0].knob.baseline[0] ^= 1;
  }
  EXPECT_EQ(release().size(), 2U);  // the bad record, and the xattr
  EXPECT_EQ(read("cpu.max"), kMax);
}

// Burst 80 ms of quota 100, to burst 20 of quota 50: the burst goes to 0, then
// comes the quota.
TEST_F(Release, OrdersBurstAndQuotaByXattrsToo) {
  if (!has_xattrs()) GTEST_SKIP() << "no user.* xattrs here";
  cap("cpu.max.burst", "20000", "80000");
  cap("cpu.max", "50000 100000", "100000 100000");
  lose_the_file();
  const auto knobs = release();
  ASSERT_EQ(knobs.size(), 2U);
  EXPECT_EQ(knobs[0].attribute, "cpu.max");
  EXPECT_EQ(knobs[1].attribute, "cpu.max.burst");
  EXPECT_EQ(knobs[1].present, "0");
  EXPECT_EQ(read("cpu.max"), "50000 100000");
  EXPECT_EQ(read("cpu.max.burst"), "20000");
}

// The table speaks of the knob: the xattr does not overrule it.
TEST_F(Release, LeavesAForeignValueAlone) {
  cap("cpu.max", kMax, "20000 100000");
  write("cpu.max", "70000 100000");
  const auto knobs = release();
  ASSERT_EQ(knobs.size(), 1U);
  EXPECT_EQ(knobs[0].outcome, RestoreOutcome::kForeign);
  EXPECT_EQ(read("cpu.max"), "70000 100000");
  EXPECT_TRUE(release().empty());
}

TEST_F(Release, ChangesNothingInADryRun) {
  cap("cpu.max", kMax, "20000 100000");
  for (int i = 0; i < 2; ++i) {
    const auto knobs = release(RestoreMode::kDryRun);
    ASSERT_EQ(knobs.size(), 1U);
    EXPECT_EQ(knobs[0].outcome, RestoreOutcome::kRestored);
    EXPECT_EQ(read("cpu.max"), "20000 100000");
  }
  EXPECT_EQ(release().size(), 1U);
}

TEST_F(Release, RefusesToFightALiveAgent) {
  BaselineTable table = open();
  const KnobBaseline quota = knob("cpu.max", kMax);
  set(table, remember(table, quota), quota, "20000 100000");
  auto knobs = release_all(dir(), mount(), RestoreMode::kWrite);
  EXPECT_EQ(knobs.error().code, EWOULDBLOCK);
  EXPECT_EQ(read("cpu.max"), "20000 100000");
  EXPECT_EQ(release(RestoreMode::kDryRun).size(), 1U);
}

TEST_F(Release, MakesNothingWhereNobodyEverWas) {
  EXPECT_TRUE(release().empty());
  EXPECT_FALSE(std::filesystem::exists(dir()));
}

}  // namespace
}  // namespace outrider
