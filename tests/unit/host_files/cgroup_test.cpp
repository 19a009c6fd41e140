// SPDX-License-Identifier: Apache-2.0
#include "agent/cgroup.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cerrno>

#include "tests/unit/host_files/fake_host.h"

namespace outrider {
namespace {

TEST(ParseCgroupMounts, KnowsUnified) {
  const auto mounts = parse_cgroup_mounts(
      "proc /proc proc rw 0 0\n"
      "cgroup2 /sys/fs/cgroup cgroup2 rw,nsdelegate 0 0\n");
  EXPECT_EQ(mounts.mode, CgroupMode::kUnified);
  EXPECT_EQ(mounts.v2, "/sys/fs/cgroup");
}

TEST(ParseCgroupMounts, KnowsHybridByItsV1Controllers) {
  const auto mounts = parse_cgroup_mounts(
      "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,relatime,cpu,cpuacct 0 0\n"
      "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n");
  EXPECT_EQ(mounts.mode, CgroupMode::kHybrid);
  EXPECT_EQ(mounts.v1_controllers,
            (std::vector<std::string>{"cpu", "cpuacct"}));
}

TEST(ParseCgroupMounts, ANamedV1TreeWithoutControllersIsNotHybrid) {
  const auto mounts = parse_cgroup_mounts(
      "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n"
      "cgroup /run/sd cgroup rw,name=systemd,xattr 0 0\n");
  EXPECT_EQ(mounts.mode, CgroupMode::kUnified);
}

TEST(ParseCgroupMounts, KnowsV1AndNone) {
  EXPECT_EQ(
      parse_cgroup_mounts("c /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n").mode,
      CgroupMode::kV1);
  EXPECT_EQ(parse_cgroup_mounts("proc /proc proc rw 0 0\n").mode,
            CgroupMode::kNone);
  EXPECT_EQ(parse_cgroup_mounts("").mode, CgroupMode::kNone);
}

TEST(ParseCgroupMounts, PrefersTheUsualPlaceAndUnescapes) {
  EXPECT_EQ(parse_cgroup_mounts("c /mnt/x cgroup2 rw 0 0\n"
                                "c /sys/fs/cgroup cgroup2 rw 0 0\n"
                                "c /mnt/y cgroup2 rw 0 0\n")
                .v2,
            "/sys/fs/cgroup");
  EXPECT_EQ(parse_cgroup_mounts("c /mnt/a\\040b cgroup2 rw 0 0\n").v2,
            "/mnt/a b");
}

TEST(OpenHostCgroups, RefusesWhatIsNoCgroupFileSystem) {
  FakeHost host;
  host.write("proc/self/mounts", "c " + host.cgroups() + " cgroup2 rw 0 0\n");
  auto proc = ProcRoot::open(host.proc());
  ASSERT_TRUE(proc);
  auto tree = open_host_cgroups(*proc);
  ASSERT_FALSE(tree);
  EXPECT_EQ(tree.error().code, ENOENT);
  EXPECT_NE(tree.error().what.find("hidden by another mount"),
            std::string::npos);
}

TEST(OpenHostCgroups, SaysThatThereIsNone) {
  FakeHost host;
  host.write("proc/self/mounts", "proc /proc proc rw 0 0\n");
  auto proc = ProcRoot::open(host.proc());
  ASSERT_TRUE(proc);
  auto tree = open_host_cgroups(*proc);
  ASSERT_FALSE(tree);
  EXPECT_EQ(tree.error().what, "no cgroup2 file system mounted");
}

TEST(CgroupId, IsTheInodeOfTheDirectory) {
  FakeHost host;
  host.add_cgroup("/a/b");
  host.write("cgroup/a/file", "x");
  auto tree = CgroupTree::open(host.cgroups());
  ASSERT_TRUE(tree);
  struct stat facts {};
  ASSERT_EQ(::stat((host.cgroups() + "/a/b").c_str(), &facts), 0);
  EXPECT_EQ(read_cgroup_id(*tree, "/a/b").value(), facts.st_ino);
  EXPECT_EQ(read_cgroup_id(*tree, "/a/c").error().code, ENOENT);
  EXPECT_EQ(read_cgroup_id(*tree, "/a/file").error().code, ENOTDIR);
}

TEST(CheckCgroupPath, TakesBothWaysToWriteIt) {
  FakeHost host;
  host.add_cgroup("/a/b");
  auto tree = CgroupTree::open(host.cgroups());
  ASSERT_TRUE(tree);
  EXPECT_EQ(check_cgroup_path(*tree, "/a/b").value(), "/a/b");
  EXPECT_EQ(check_cgroup_path(*tree, "a//b/").value(), "/a/b");
  EXPECT_EQ(check_cgroup_path(*tree, host.cgroups() + "/a/b").value(), "/a/b");
}

TEST(CheckCgroupPath, RefusesTheRootAndWaysOut) {
  FakeHost host;
  host.add_cgroup("/a");
  auto tree = CgroupTree::open(host.cgroups());
  ASSERT_TRUE(tree);
  EXPECT_EQ(check_cgroup_path(*tree, "/").error().code, EINVAL);
  EXPECT_EQ(check_cgroup_path(*tree, "").error().code, EINVAL);
  EXPECT_EQ(check_cgroup_path(*tree, "/a/../a").error().code, EINVAL);
  EXPECT_EQ(check_cgroup_path(*tree, "/b").error().code, ENOENT);
}

TEST(ReadMembers, ReadsNumbersAndWords) {
  FakeHost host;
  host.write("cgroup/a/cgroup.threads", "71\n72\n");
  host.write("cgroup/a/cgroup.controllers", "cpu io\n");
  auto tree = CgroupTree::open(host.cgroups());
  ASSERT_TRUE(tree);
  EXPECT_EQ(read_members(*tree, "/a", "cgroup.threads").value(),
            (std::vector<pid_t>{71, 72}));
  EXPECT_EQ(read_words(*tree, "/a", "cgroup.controllers").value(),
            (std::vector<std::string>{"cpu", "io"}));
  EXPECT_FALSE(read_members(*tree, "/a", "cgroup.procs"));
}

TEST(ParseCpuStat, ReadsThrottling) {
  const auto stat = parse_cpu_stat(
      "usage_usec 5\nuser_usec 3\nnr_periods 9\nnr_throttled 4\n"
      "throttled_usec 7\nnr_bursts 0\n");
  ASSERT_TRUE(stat);
  EXPECT_EQ(stat->usage_ns, 5000U);
  EXPECT_EQ(stat->throttled_ns, 7000U);
  EXPECT_EQ(stat->throttled_count, 4U);
  EXPECT_TRUE(stat->has_throttling);
}

TEST(ParseCpuStat, SaysWhenThereIsNoCpuController) {
  const auto stat = parse_cpu_stat("usage_usec 5\nuser_usec 3\n");
  ASSERT_TRUE(stat);
  EXPECT_FALSE(stat->has_throttling);
  EXPECT_FALSE(parse_cpu_stat(""));
  EXPECT_FALSE(parse_cpu_stat("usage_usec x\n"));
}

}  // namespace
}  // namespace outrider
