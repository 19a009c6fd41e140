// SPDX-License-Identifier: Apache-2.0
#include "agent/file_sensor.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "agent/throttle.h"
#include "tests/unit/host_files/fake_host.h"

namespace outrider {
namespace {

using std::chrono::milliseconds;

// A VM of one process, pid 71, with an emulator thread 71 and a vCPU 75.
class FileSensorTest : public testing::Test {
 protected:
  FileSensorTest()
      : proc_(*ProcRoot::open(host_.proc())),
        tree_(*CgroupTree::open(host_.cgroups())),
        sensor_(proc_, &tree_, {.files_max = 100}) {
    host_.add_cgroup("/vms/a");
    host_.add({.pid = 71, .cgroup = "/vms/a"});
    host_.add_thread(71, 75, "CPU 0/KVM");
    vm_.id = VmId{1};
    vm_.identity = *identify(proc_, &tree_, 71);
  }

  const Sample& read() {
    now_ += milliseconds{100};
    sample_ = sensor_.read(now_);
    return sample_;
  }
  const ThreadSample& thread(std::uint32_t tid) {
    for (const ThreadSample& one : sample_.threads) {
      if (one.tid == tid) return one;
    }
    ADD_FAILURE() << "no thread " << tid;
    static const ThreadSample none;
    return none;
  }

  FakeHost host_;
  ProcRoot proc_;
  CgroupTree tree_;
  FileSensor sensor_;
  Vm vm_;
  Instant now_{std::chrono::seconds{100}};
  Sample sample_;
};

TEST_F(FileSensorTest, CountsFromTheFirstRead) {
  host_.run(71, 75, 'S', "5000 700 3", 2);
  ASSERT_TRUE(sensor_.attach(vm_));
  read();
  EXPECT_EQ(sample_.taken, now_);
  EXPECT_EQ(thread(75).run_ns, 0U);
  host_.run(71, 75, 'S', "5600 950 4", 3);
  read();
  EXPECT_EQ(thread(75).run_ns, 600U);
  EXPECT_EQ(thread(75).wait_ns, 250U);
  EXPECT_EQ(thread(75).wakeups, 1U);
  EXPECT_EQ(thread(75).state, ThreadState::kSleeping);
  EXPECT_EQ(thread(75).open_wait_ns, 0U);
}

TEST_F(FileSensorTest, KeepsTheOrderOfASample) {
  host_.add_thread(71, 73, "CPU 1/KVM");
  host_.add_thread(71, 74, "IO iothread0");
  ASSERT_TRUE(sensor_.attach(vm_));
  Vm other = vm_;
  other.id = VmId{0};
  ASSERT_TRUE(sensor_.attach(other));
  read();
  ASSERT_EQ(sample_.vms.size(), 2U);
  EXPECT_EQ(sample_.vms[0].id, VmId{0});
  EXPECT_EQ(sample_.vms[1].first_thread, 4U);
  EXPECT_EQ(sample_.vms[1].first_vcpu, 2U);
  EXPECT_EQ(sample_.vms[1].vcpu_count, 2U);
  std::vector<std::uint32_t> tids;
  for (const ThreadSample& one : sample_.threads) tids.push_back(one.tid);
  EXPECT_EQ(tids, (std::vector<std::uint32_t>{75, 73, 71, 74, 75, 73, 71, 74}));
  EXPECT_EQ(sample_.vcpus.size(), 4U);
}

TEST_F(FileSensorTest, AWaitGrowsWhileTheBusyPeriodGoesOn) {
  ASSERT_TRUE(sensor_.attach(vm_));
  host_.run(71, 75, 'R', "20 80 1", 1);  // woke up: one sleep since before
  read();
  EXPECT_EQ(thread(75).open_run_ns, 20U);
  EXPECT_EQ(thread(75).open_wait_ns, 80U);
  EXPECT_EQ(thread(75).state, ThreadState::kRunning);
  host_.run(71, 75, 'R', "40 160 2", 1);  // no sleep: the same busy period
  read();
  EXPECT_EQ(thread(75).open_run_ns, 40U);
  EXPECT_EQ(thread(75).open_wait_ns, 160U);
  read();  // throttled all the time: nothing moved
  EXPECT_EQ(thread(75).open_wait_ns, 160U);
  EXPECT_EQ(thread(75).state, ThreadState::kRunning);
}

TEST_F(FileSensorTest, ASleepBetweenTwoReadsEndsTheBusyPeriod) {
  ASSERT_TRUE(sensor_.attach(vm_));
  host_.run(71, 75, 'R', "20 80 1", 1);
  read();
  host_.run(71, 75, 'R', "30 100 3", 2);
  read();
  EXPECT_EQ(thread(75).open_run_ns, 10U);   // 30 - 20
  EXPECT_EQ(thread(75).open_wait_ns, 20U);  // 100 - 80
  host_.run(71, 75, 'S', "35 100 3", 3);
  read();
  EXPECT_EQ(thread(75).open_run_ns, 0U);
  EXPECT_EQ(thread(75).open_wait_ns, 0U);
  EXPECT_EQ(thread(75).wait_ns, 100U);
}

TEST_F(FileSensorTest, OneThatOnlyWaitedIsWaiting) {
  ASSERT_TRUE(sensor_.attach(vm_));
  host_.run(71, 75, 'R', "0 80 1", 1);
  read();
  EXPECT_EQ(thread(75).state, ThreadState::kWaiting);
}

TEST_F(FileSensorTest, ARunnableThreadIsUnknownUntilItMoves) {
  host_.run(71, 75, 'R', "20 80 1", 1);
  ASSERT_TRUE(sensor_.attach(vm_));
  read();
  EXPECT_EQ(thread(75).state, ThreadState::kUnknown);
  EXPECT_EQ(thread(71).state, ThreadState::kSleeping);
}

TEST_F(FileSensorTest, HoldsTheLastFigureWhenAReadFails) {
  ASSERT_TRUE(sensor_.attach(vm_));
  host_.run(71, 75, 'R', "20 80 1", 1);
  read();
  host_.run(71, 75, 'R', "nonsense", 1);
  read();
  EXPECT_EQ(thread(75).run_ns, 20U);
  EXPECT_EQ(thread(75).open_wait_ns, 80U);
  host_.run(71, 75, 'R', "25 80 2", 1);
  read();
  EXPECT_EQ(thread(75).run_ns, 25U);
}

TEST_F(FileSensorTest, SeesThreadsComeAndGo) {
  ASSERT_TRUE(sensor_.attach(vm_));
  read();
  EXPECT_EQ(sample_.threads.size(), 2U);
  host_.add_thread(71, 90, "worker");
  now_ += std::chrono::seconds{1};
  read();
  ASSERT_EQ(sample_.threads.size(), 3U);
  const ThreadId first = thread(90).id;
  // Its tid is another thread's now: what it counted is less than before.
  host_.run(71, 90, 'S', "50 0 1", 1);
  read();
  host_.run(71, 90, 'S', "10 0 1", 1);
  read();
  EXPECT_EQ(thread(90).state, ThreadState::kExited);
  EXPECT_EQ(thread(90).run_ns, 50U);  // final figures
  read();
  EXPECT_EQ(sample_.threads.size(), 2U);  // in no later Sample
  now_ += std::chrono::seconds{1};
  read();
  EXPECT_EQ(sample_.threads.size(), 3U);
  EXPECT_NE(thread(90).id, first);
}

TEST_F(FileSensorTest, NoticesANewThreadAtTheNextRead) {
  ASSERT_TRUE(sensor_.attach(vm_));
  read();
  struct stat before {};
  const std::string tasks = host_.proc() + "/71/task";
  ASSERT_EQ(::stat(tasks.c_str(), &before), 0);
  host_.add_thread(71, 90, "worker");
  struct stat after {};
  ASSERT_EQ(::stat(tasks.c_str(), &after), 0);
  if (after.st_nlink == before.st_nlink) {
    GTEST_SKIP() << "this file system does not count links of directories";
  }
  read();
  EXPECT_EQ(sample_.threads.size(), 3U);
}

TEST_F(FileSensorTest, LooksAgainAtAThreadThatGetsItsNameLater) {
  host_.add_thread(71, 76, "qemu");
  ASSERT_TRUE(sensor_.attach(vm_));
  read();
  EXPECT_EQ(sample_.vms[0].vcpu_count, 1U);
  const ThreadId id = thread(76).id;
  host_.write("proc/71/task/76/comm", "CPU 1/KVM\n");
  now_ += std::chrono::seconds{1};
  read();
  EXPECT_EQ(sample_.vms[0].vcpu_count, 2U);
  EXPECT_EQ(sample_.threads[1].tid, 76U);
  EXPECT_EQ(thread(76).id, id);
}

TEST_F(FileSensorTest, WorksWithoutRoomForKeptFiles) {
  FileSensor poor(proc_, &tree_, {.files_max = 3});
  ASSERT_TRUE(poor.attach(vm_));
  EXPECT_EQ(poor.files_kept(), 2U);
  host_.run(71, 71, 'S', "7 0 1", 1);
  host_.run(71, 75, 'S', "9 0 1", 1);
  sample_ = poor.read(now_);
  EXPECT_EQ(thread(71).run_ns, 7U);
  EXPECT_EQ(thread(75).run_ns, 9U);
  ASSERT_TRUE(poor.detach(vm_.id));
  EXPECT_EQ(poor.files_kept(), 0U);
}

TEST_F(FileSensorTest, OpenedPerReadItSeesThatAThreadIsGone) {
  FileSensor poor(proc_, &tree_, {.files_max = 0});
  ASSERT_TRUE(poor.attach(vm_));
  host_.remove(FakeHost::task(71, 75));
  sample_ = poor.read(now_);
  EXPECT_EQ(thread(75).state, ThreadState::kExited);
  sample_ = poor.read(now_);
  EXPECT_EQ(sample_.threads.size(), 1U);
}

TEST_F(FileSensorTest, RefusesWhatItCannotAttach) {
  ASSERT_TRUE(sensor_.attach(vm_));
  EXPECT_EQ(sensor_.attach(vm_).error().code, EEXIST);
  Vm gone = vm_;
  gone.id = VmId{2};
  gone.identity.start_ticks = 5;
  EXPECT_EQ(sensor_.attach(gone).error().code, ESRCH);
  gone.identity.pid = 99;
  EXPECT_EQ(sensor_.attach(gone).error().code, ESRCH);
  EXPECT_EQ(sensor_.detach(VmId{2}).error().code, ENOENT);
  read();
  EXPECT_EQ(sample_.vms.size(), 1U);  // nothing half attached
}

class ThrottleReaderTest : public FileSensorTest {
 protected:
  void throttle(const std::string& count, const std::string& usec) {
    host_.write("cgroup/vms/a/cpu.stat", "usage_usec 1\nnr_throttled " + count +
                                             "\nthrottled_usec " + usec + "\n");
  }
  ThrottleReader reader_;
};

TEST_F(ThrottleReaderTest, CountsFromAttachmentAndFillsItsVmOnly) {
  throttle("3", "40");
  ASSERT_TRUE(reader_.attach(vm_, tree_));
  throttle("5", "100");
  Sample sample;
  sample.vms = {{.id = VmId{0}}, {.id = VmId{1}}, {.id = VmId{2}}};
  reader_.fill(sample);
  EXPECT_EQ(sample.vms[1].throttled_ns, 0U);
  reader_.read_all();
  reader_.fill(sample);
  EXPECT_EQ(sample.vms[0].throttled_ns, 0U);
  EXPECT_EQ(sample.vms[1].throttled_ns, 60000U);  // 60 us
  EXPECT_EQ(sample.vms[1].throttled_count, 2U);
  EXPECT_EQ(sample.vms[2].throttled_ns, 0U);
}

TEST_F(ThrottleReaderTest, HoldsTheLastFigureWhenTheControllerGoes) {
  throttle("0", "0");
  ASSERT_TRUE(reader_.attach(vm_, tree_));
  throttle("5", "100");
  reader_.read_all();
  host_.write("cgroup/vms/a/cpu.stat", "usage_usec 9\n");
  reader_.read_all();
  Sample sample;
  sample.vms = {{.id = VmId{1}}};
  reader_.fill(sample);
  EXPECT_EQ(sample.vms[0].throttled_ns, 100000U);
  EXPECT_EQ(sample.vms[0].throttled_count, 5U);
}

TEST_F(ThrottleReaderTest, SaysWhyAVmHasNoFigure) {
  host_.write("cgroup/vms/a/cpu.stat", "usage_usec 9\n");
  auto no_controller = reader_.attach(vm_, tree_);
  ASSERT_FALSE(no_controller);
  EXPECT_NE(no_controller.error().what.find("no cpu controller"),
            std::string::npos);
  vm_.identity.cgroup.clear();
  auto no_cgroup = reader_.attach(vm_, tree_);
  ASSERT_FALSE(no_cgroup);
  EXPECT_NE(no_cgroup.error().what.find("no cgroup of its own"),
            std::string::npos);
}

TEST_F(ThrottleReaderTest, DetachesItsVm) {
  throttle("0", "0");
  ASSERT_TRUE(reader_.attach(vm_, tree_));
  throttle("5", "100");
  reader_.detach(vm_.id);
  reader_.read_all();
  Sample sample;
  sample.vms = {{.id = VmId{1}}};
  reader_.fill(sample);
  EXPECT_EQ(sample.vms[0].throttled_ns, 0U);
}

}  // namespace
}  // namespace outrider
