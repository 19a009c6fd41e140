// SPDX-License-Identifier: Apache-2.0
#include "agent/proc.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "tests/unit/host_files/fake_host.h"

namespace outrider {
namespace {

TEST(ParseStat, CopesWithAnyName) {
  const auto stat = parse_stat(
      "71 (a) b (c) R 1 2 3 4 -1 2097152 0 0 0 0 1 2 0 0 20 0 5 0 987 0 0\n");
  ASSERT_TRUE(stat);
  EXPECT_EQ(stat->comm, "a) b (c");
  EXPECT_EQ(stat->state, 'R');
  EXPECT_EQ(stat->thread_count, 5U);
  EXPECT_EQ(stat->start_ticks, 987U);
  EXPECT_TRUE(stat->is_kernel_thread());
}

TEST(ParseStat, RefusesWhatIsCutOff) {
  EXPECT_FALSE(parse_stat(""));
  EXPECT_FALSE(parse_stat("71 (a"));
  EXPECT_FALSE(parse_stat("71 (a) R 1 2 3"));
  EXPECT_FALSE(parse_stat(")71("));
}

TEST(ParseSchedstat, WantsThreeNumbers) {
  const auto figures = parse_schedstat("18446744073709551615 2 3\n");
  ASSERT_TRUE(figures);
  EXPECT_EQ(figures->run_ns, 18446744073709551615U);
  EXPECT_EQ(figures->wait_ns, 2U);
  EXPECT_EQ(figures->slices, 3U);
  EXPECT_FALSE(parse_schedstat("1 2\n"));
  EXPECT_FALSE(parse_schedstat(""));
  EXPECT_FALSE(parse_schedstat("1 x 3"));
}

TEST(ParseStatus, WantsItsThreeLines) {
  const auto status = parse_status(
      "Name:\tq\nState:\tR "
      "(running)\nTgid:\t71\nvoluntary_ctxt_switches:\t9\n");
  ASSERT_TRUE(status);
  EXPECT_EQ(status->state, 'R');
  EXPECT_EQ(status->tgid, 71);
  EXPECT_EQ(status->voluntary_switches, 9U);
  EXPECT_FALSE(parse_status("Name:\tq\nState:\tR (running)\nTgid:\t71\n"));
}

TEST(ParseProcCgroup, TellsV2FromSystemdAndCpu) {
  const auto v1 = parse_proc_cgroup(
      "9:name=systemd:/a:b\n2:cpuacct,cpu:/c\n1:cpuset:/d\n0::/\n");
  EXPECT_EQ(v1.v2, "/");
  EXPECT_EQ(v1.v1_systemd, "/a:b");
  EXPECT_EQ(v1.v1_cpu, "/c");
  EXPECT_EQ(parse_proc_cgroup("1:cpu:/c\n").v2, "");
}

TEST(Split, LeavesOutEmptyPieces) {
  EXPECT_EQ(split("//a/b/", "/"), (std::vector<std::string_view>{"a", "b"}));
  EXPECT_TRUE(split("", "/").empty());
}

TEST(HasKvm, FindsTheDescriptor) {
  FakeHost host;
  host.add({.pid = 71});
  host.add({.pid = 72, .descriptors = {"anon_inode:kvm-vcpu:0", "/dev/kvm"}});
  host.add({.pid = 73, .descriptors = {}});
  auto proc = ProcRoot::open(host.proc());
  ASSERT_TRUE(proc);
  EXPECT_TRUE(has_kvm(*proc, 71).value());
  EXPECT_FALSE(has_kvm(*proc, 72).value());
  EXPECT_FALSE(has_kvm(*proc, 73).value());
}

TEST(HasKvm, SaysThatTheProcessIsGone) {
  FakeHost host;
  auto proc = ProcRoot::open(host.proc());
  ASSERT_TRUE(proc);
  auto kvm = has_kvm(*proc, 71);
  ASSERT_FALSE(kvm);
  EXPECT_EQ(kvm.error().code, ESRCH);
  EXPECT_EQ(kvm.error().what, "process 71: no such process");
}

TEST(ReadCmdline, KeepsEmptyArguments) {
  FakeHost host;
  host.add({.pid = 71, .arguments = {"qemu", "", "-id", "7"}});
  auto proc = ProcRoot::open(host.proc());
  ASSERT_TRUE(proc);
  EXPECT_EQ(read_cmdline(*proc, 71).value(),
            (std::vector<std::string>{"qemu", "", "-id", "7"}));
}

TEST(ProcRoot, ReadsThisVeryProcess) {
  auto proc = ProcRoot::open();
  ASSERT_TRUE(proc);
  auto stat = read_stat(*proc, ::getpid());
  ASSERT_TRUE(stat) << stat.error().what;
  EXPECT_FALSE(stat->is_kernel_thread());
  EXPECT_GE(stat->thread_count, 1U);
  EXPECT_FALSE(has_kvm(*proc, ::getpid()).value());
  auto tasks = list_tasks(*proc, ::getpid());
  ASSERT_TRUE(tasks);
  EXPECT_EQ(tasks->front(), ::getpid());
}

TEST(ProcRoot, AProcessHasEndedAlsoBeforeItIsWaitedFor) {
  auto proc = ProcRoot::open();
  ASSERT_TRUE(proc);
  EXPECT_FALSE(has_ended(*proc, ::getpid()));
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  siginfo_t info;
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT),
            0);
  EXPECT_TRUE(has_ended(*proc, child)) << "a zombie";
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_TRUE(has_ended(*proc, child)) << "gone";
}

TEST(ProcRoot, SaysWhichDirectoryIsNotThere) {
  auto proc = ProcRoot::open("/no/such/proc");
  ASSERT_FALSE(proc);
  EXPECT_EQ(proc.error().what, "open /no/such/proc");
}

}  // namespace
}  // namespace outrider
