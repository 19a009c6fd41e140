// SPDX-License-Identifier: Apache-2.0
#include "agent/cgroup_watch.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/host_files/fake_host.h"

namespace outrider {
namespace {

using Paths = std::vector<std::string>;

bool is_readable(int fd) {
  pollfd poll_fd{.fd = fd, .events = POLLIN, .revents = 0};
  return ::poll(&poll_fd, 1, 0) == 1;
}

class CgroupWatchTest : public testing::Test {
 protected:
  CgroupWatchTest() : tree_(*CgroupTree::open(host_.cgroups())) {}

  FakeHost host_;
  CgroupTree tree_;
};

TEST_F(CgroupWatchTest, TellsOfScopesThatComeAndGo) {
  host_.add_cgroup("/machine.slice/old.scope");
  auto watch = CgroupWatch::make(tree_);
  ASSERT_TRUE(watch) << watch.error().what;
  EXPECT_FALSE(is_readable(watch->fd()));
  EXPECT_TRUE(watch->take().appeared.empty());  // the scan finds those
  host_.add_cgroup("/machine.slice/new.scope");
  EXPECT_TRUE(is_readable(watch->fd()));
  EXPECT_EQ(watch->take().appeared, Paths{"/machine.slice/new.scope"});
  host_.remove("cgroup/machine.slice/old.scope");
  EXPECT_EQ(watch->take().gone, Paths{"/machine.slice/old.scope"});
  EXPECT_FALSE(is_readable(watch->fd()));
}

TEST_F(CgroupWatchTest, TellsOfScopesInASliceThatIsNewItself) {
  auto watch = CgroupWatch::make(tree_);
  ASSERT_TRUE(watch);
  host_.add_cgroup("/qemu.slice/100.scope");  // both before we look
  EXPECT_EQ(watch->take().appeared, Paths{"/qemu.slice/100.scope"});
  host_.add_cgroup("/qemu.slice/101.scope");
  EXPECT_EQ(watch->take().appeared, Paths{"/qemu.slice/101.scope"});
}

TEST_F(CgroupWatchTest, FollowsSlicesInSlices) {
  host_.add_cgroup("/machine.slice/machine-gold.slice");
  auto watch = CgroupWatch::make(tree_);
  ASSERT_TRUE(watch);
  host_.add_cgroup("/machine.slice/machine-gold.slice/a.scope");
  host_.add_cgroup("/machine.slice/machine-new.slice/b.scope");
  EXPECT_EQ(watch->take().appeared,
            (Paths{"/machine.slice/machine-gold.slice/a.scope",
                   "/machine.slice/machine-new.slice/b.scope"}));
}

TEST_F(CgroupWatchTest, ForgetsASliceThatGoesAndSeesItComeAgain) {
  host_.add_cgroup("/machine.slice");
  auto watch = CgroupWatch::make(tree_);
  ASSERT_TRUE(watch);
  EXPECT_EQ(watch->watch_count(), 2U);
  host_.remove("cgroup/machine.slice");
  (void)watch->take();
  EXPECT_EQ(watch->watch_count(), 1U);
  host_.add_cgroup("/machine.slice/a.scope");
  EXPECT_EQ(watch->take().appeared, Paths{"/machine.slice/a.scope"});
}

TEST_F(CgroupWatchTest, IgnoresOtherPlacesAndFiles) {
  auto watch = CgroupWatch::make(tree_);
  ASSERT_TRUE(watch);
  host_.add_cgroup("/system.slice/a.scope");
  host_.write("cgroup/machine.slice/cgroup.procs", "");
  const CgroupChanges changes = watch->take();
  EXPECT_TRUE(changes.appeared.empty());
  EXPECT_TRUE(changes.gone.empty());
  EXPECT_FALSE(changes.lost);
}

TEST_F(CgroupWatchTest, SaysThatEventsWereLost) {
  host_.add_cgroup("/machine.slice");
  auto watch = CgroupWatch::make(tree_);
  ASSERT_TRUE(watch);
  int queue_max = 0;
  std::ifstream("/proc/sys/fs/inotify/max_queued_events") >> queue_max;
  ASSERT_GT(queue_max, 0);
  const std::string scope = host_.cgroups() + "/machine.slice/a.scope";
  for (int i = 0; i <= queue_max / 2; ++i) {  // two events each
    ASSERT_EQ(::mkdir(scope.c_str(), 0755), 0);
    ASSERT_EQ(::rmdir(scope.c_str()), 0);
  }
  EXPECT_TRUE(watch->take().lost);
  host_.add_cgroup("/machine.slice/b.scope");  // and it goes on
  EXPECT_EQ(watch->take().appeared, Paths{"/machine.slice/b.scope"});
}

TEST_F(CgroupWatchTest, IsBounded) {
  for (std::size_t i = 0; i < CgroupWatch::kWatchesMax + 5; ++i) {
    host_.add_cgroup("/machine.slice/m" + std::to_string(i) + ".slice");
  }
  auto watch = CgroupWatch::make(tree_);
  ASSERT_TRUE(watch);
  EXPECT_EQ(watch->watch_count(), CgroupWatch::kWatchesMax);
  // Root and machine.slice take two places.
  EXPECT_EQ(watch->unwatched(), 7U);
}

class FreshCgroupsTest : public CgroupWatchTest {
 protected:
  FreshCgroupsTest() : proc_(*ProcRoot::open(host_.proc())) {}

  ProcRoot proc_;
  FreshCgroups fresh_;
  const Instant start_{std::chrono::seconds{100}};
};

TEST_F(FreshCgroupsTest, WaitsUntilTheProcessHasKvm) {
  host_.write("cgroup/qemu.slice/1.scope/cgroup.procs", "71\n");
  host_.add({.pid = 71, .descriptors = {"/dev/null"}});
  fresh_.add("/qemu.slice/1.scope", start_);
  EXPECT_TRUE(fresh_.look(start_, proc_, tree_).empty());
  EXPECT_FALSE(fresh_.empty());
  host_.remove("proc/71");
  host_.add({.pid = 71});
  EXPECT_EQ(fresh_.look(start_, proc_, tree_), (std::vector<pid_t>{71}));
  EXPECT_TRUE(fresh_.empty());
}

TEST_F(FreshCgroupsTest, GivesUpInTheEndOrWhenItIsGone) {
  host_.add_cgroup("/qemu.slice/1.scope");
  host_.add_cgroup("/qemu.slice/2.scope");
  fresh_.add("/qemu.slice/1.scope", start_);
  fresh_.add("/qemu.slice/2.scope", start_);
  host_.remove("cgroup/qemu.slice/2.scope");
  (void)fresh_.look(start_, proc_, tree_);
  EXPECT_FALSE(fresh_.empty());
  (void)fresh_.look(start_ + FreshCgroups::kPatience, proc_, tree_);
  EXPECT_FALSE(fresh_.empty());
  (void)fresh_.look(start_ + FreshCgroups::kPatience + Duration{1}, proc_,
                    tree_);
  EXPECT_TRUE(fresh_.empty());
}

}  // namespace
}  // namespace outrider
