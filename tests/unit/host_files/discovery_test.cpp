// SPDX-License-Identifier: Apache-2.0
#include "agent/discovery.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "tests/unit/host_files/fake_host.h"

namespace outrider {
namespace {

constexpr const char* kUuid = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9";
constexpr const char* kScope =
    R"(/machine.slice/machine-qemu\x2d1\x2dweb.scope)";

constexpr const char* kNoList = "/no/such/kvm";

VmIdentity of_pid(pid_t pid) {
  VmIdentity vm;
  vm.pid = pid;
  vm.start_ticks = 1;
  return vm;
}

// Invariant: both trees of `host` are open.
class DiscoveryTest : public testing::Test {
 protected:
  DiscoveryTest()
      : proc_(*ProcRoot::open(host_.proc())),
        tree_(*CgroupTree::open(host_.cgroups())) {}

  std::string add_libvirt_vm(int pid) const {
    const std::string vm = std::string(kScope) + "/libvirt";
    host_.add_cgroup(vm + "/emulator");
    host_.add_cgroup(vm + "/vcpu0");
    host_.add({.pid = pid,
               .cgroup = vm + "/emulator",
               .arguments = {"qemu", "-name", "guest=web", "-uuid", kUuid}});
    return vm;
  }

  FakeHost host_;
  ProcRoot proc_;
  CgroupTree tree_;
};

TEST_F(DiscoveryTest, IdentifyKnowsALibvirtVm) {
  const std::string cgroup = add_libvirt_vm(71);
  auto vm = identify(proc_, &tree_, 71);
  ASSERT_TRUE(vm) << vm.error().what;
  EXPECT_EQ(vm->pid, 71);
  EXPECT_EQ(vm->start_ticks, 1000U);
  EXPECT_EQ(vm->name, "web");
  EXPECT_EQ(vm->uuid, kUuid);
  EXPECT_EQ(vm->cgroup, cgroup);
  EXPECT_EQ(vm->cgroup_id, read_cgroup_id(tree_, cgroup).value());
  EXPECT_EQ(vm->origin, VmOrigin::kLibvirt);
}

TEST_F(DiscoveryTest, IdentifyKnowsAProxmoxVm) {
  host_.add_cgroup("/qemu.slice/100.scope");
  host_.add({.pid = 71,
             .cgroup = "/qemu.slice/100.scope",
             .arguments = {"kvm", "-id", "100", "-smbios",
                           std::string("type=1,uuid=") + kUuid}});
  auto vm = identify(proc_, &tree_, 71);
  ASSERT_TRUE(vm) << vm.error().what;
  EXPECT_EQ(vm->origin, VmOrigin::kProxmox);
  EXPECT_EQ(vm->name, "100");
  EXPECT_EQ(vm->uuid, kUuid);
  EXPECT_EQ(vm->cgroup, "/qemu.slice/100.scope");
}

TEST_F(DiscoveryTest, IdentifyNamesABareProcessByItsPid) {
  host_.add({.pid = 71});
  auto vm = identify(proc_, &tree_, 71);
  ASSERT_TRUE(vm) << vm.error().what;
  EXPECT_EQ(vm->name, "pid-71");
  EXPECT_EQ(vm->origin, VmOrigin::kProcess);
  EXPECT_EQ(vm->cgroup, "");
  EXPECT_EQ(vm->cgroup_id, 0U);
}

TEST_F(DiscoveryTest, IdentifyGoesAboveThreadedGroups) {
  host_.write("cgroup/vms/a/cgroup.type", "domain threaded\n");
  host_.write("cgroup/vms/a/main/cgroup.type", "threaded\n");
  host_.add({.pid = 71, .cgroup = "/vms/a/main"});
  EXPECT_EQ(identify(proc_, &tree_, 71)->cgroup, "/vms/a");
}

TEST_F(DiscoveryTest, IdentifyUsesSystemdsV1TreeOnHybridHosts) {
  host_.add({.pid = 71});
  host_.write("proc/71/cgroup",
              std::string("1:name=systemd:") + kScope + "/emulator\n0::/\n");
  auto vm = identify(proc_, &tree_, 71);
  ASSERT_TRUE(vm);
  EXPECT_EQ(vm->origin, VmOrigin::kLibvirt);
  EXPECT_EQ(vm->name, "web");
  EXPECT_EQ(vm->cgroup, "");
}

TEST_F(DiscoveryTest, IdentifyWorksWithoutV2) {
  add_libvirt_vm(71);
  auto vm = identify(proc_, nullptr, 71);
  ASSERT_TRUE(vm);
  EXPECT_EQ(vm->name, "web");
  EXPECT_EQ(vm->cgroup, "");
}

TEST_F(DiscoveryTest, IdentifySaysWhyNot) {
  auto gone = identify(proc_, &tree_, 71);
  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().code, ESRCH);
  host_.add({.pid = 72, .descriptors = {"/dev/null"}});
  auto other = identify(proc_, &tree_, 72);
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().code, ENOTTY);
  EXPECT_NE(other.error().what.find("not a KVM process"), std::string::npos);
}

TEST_F(DiscoveryTest, IdentifyRefusesAThread) {
  host_.add({.pid = 72});
  host_.write("proc/72/status",
              "State:\tS (x)\nTgid:\t71\nvoluntary_ctxt_switches:\t1\n");
  auto thread = identify(proc_, &tree_, 72);
  ASSERT_FALSE(thread);
  EXPECT_EQ(thread.error().code, EINVAL);
  EXPECT_EQ(thread.error().what, "72 is a thread of process 71: name that one");
}

TEST_F(DiscoveryTest, UseCgroupChangesNothingWhenItFails) {
  host_.add({.pid = 71});
  host_.add_cgroup("/mine");
  VmIdentity vm = *identify(proc_, &tree_, 71);
  const VmIdentity before = vm;
  EXPECT_FALSE(use_cgroup(vm, tree_, "/other"));
  EXPECT_EQ(vm, before);
  EXPECT_TRUE(use_cgroup(vm, tree_, "/mine"));
  EXPECT_EQ(vm.cgroup, "/mine");
  EXPECT_NE(vm.cgroup_id, 0U);
}

TEST(IsSameVm, GoesByUuidIfBothHaveOne) {
  VmIdentity a = of_pid(71);
  a.uuid = "u";
  VmIdentity b = a;
  b.pid = 72;  // migrated away and back
  EXPECT_TRUE(is_same_vm(a, b));
  b.uuid = "v";
  b.pid = 71;
  EXPECT_FALSE(is_same_vm(a, b));
}

TEST(IsSameVm, AReusedPidOrCgroupNameIsAnother) {
  VmIdentity a = of_pid(71);
  a.cgroup = "/a";
  a.cgroup_id = 5;
  VmIdentity b = a;
  EXPECT_TRUE(is_same_vm(a, b));
  b.start_ticks = 2;
  EXPECT_FALSE(is_same_vm(a, b));
  b = a;
  b.cgroup_id = 6;
  EXPECT_FALSE(is_same_vm(a, b));
}

TEST_F(DiscoveryTest, ScanFindsAllAndOnlyKvmProcesses) {
  add_libvirt_vm(71);
  host_.add({.pid = 9});
  host_.add({.pid = 30, .comm = "bash", .descriptors = {"/dev/null"}});
  host_.add(
      {.pid = 2, .comm = "kthreadd", .descriptors = {}, .flags = 0x200000});
  host_.write("proc/self/mounts", "");
  auto found = scan(proc_, &tree_, kNoList);
  ASSERT_TRUE(found);
  ASSERT_EQ(found->vms.size(), 2U);
  EXPECT_EQ(found->vms[0].pid, 9);
  EXPECT_EQ(found->vms[1].name, "web");
  EXPECT_EQ(found->unreadable, 0U);
}

TEST_F(DiscoveryTest, ScanBelievesKvmsOwnList) {
  host_.add({.pid = 71});
  host_.add({.pid = 72});  // has ended it, or made it in another namespace
  host_.add_thread(71, 75, "vmm");
  host_.write("proc/75/status",
              "State:\tS (x)\nTgid:\t71\nvoluntary_ctxt_switches:\t1\n");
  host_.add_cgroup("/kvm/75-12");  // made by a thread of 71
  host_.add_cgroup("/kvm/99-3");   // gone
  host_.write("cgroup/kvm/exits", "7\n");
  auto found = scan(proc_, &tree_, host_.cgroups() + "/kvm");
  ASSERT_TRUE(found);
  ASSERT_EQ(found->vms.size(), 1U);
  EXPECT_EQ(found->vms[0].pid, 71);
}

TEST_F(DiscoveryTest, ScanWalksIfKvmsListHoldsNothingRight) {
  host_.add({.pid = 71});
  host_.add_cgroup("/kvm/99-3");
  auto found = scan(proc_, &tree_, host_.cgroups() + "/kvm");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->vms.size(), 1U);
  host_.remove("cgroup/kvm/99-3");
  found = scan(proc_, &tree_, host_.cgroups() + "/kvm");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->vms.size(), 1U);
}

TEST_F(DiscoveryTest, ScanTakesTheKnownOverUnlessThePidIsReused) {
  host_.add({.pid = 71});
  host_.add({.pid = 72});
  std::vector<VmIdentity> known = scan(proc_, &tree_, kNoList)->vms;
  known[0].name = "named by the operator";
  known[1].name = "likewise";
  known[1].start_ticks = 5;  // an earlier process 72
  auto found = scan(proc_, &tree_, kNoList, known);
  ASSERT_TRUE(found);
  ASSERT_EQ(found->vms.size(), 2U);
  EXPECT_EQ(found->vms[0].name, "named by the operator");
  EXPECT_EQ(found->vms[1].name, "pid-72");
}

TEST_F(DiscoveryTest, ScanDropsAKnownVmWhosePidIsAnotherProcess) {
  host_.add({.pid = 71});
  std::vector<VmIdentity> known = scan(proc_, &tree_, kNoList)->vms;
  host_.remove("proc/71");
  host_.add({.pid = 71, .descriptors = {"/dev/null"}, .start_ticks = 2000});
  EXPECT_TRUE(scan(proc_, &tree_, kNoList, known)->vms.empty());
}

TEST_F(DiscoveryTest, FindKvmInLooksTwoLevelsDown) {
  host_.add({.pid = 71});
  host_.add({.pid = 72, .descriptors = {}});
  host_.write("cgroup/s/cgroup.procs", "");
  host_.write("cgroup/s/libvirt/emulator/cgroup.procs", "71\n72\n");
  EXPECT_EQ(find_kvm_in(proc_, tree_, "/s"), (std::vector<pid_t>{71}));
  EXPECT_TRUE(find_kvm_in(proc_, tree_, "/none").empty());
}

TEST(ClassifyThread, GoesByName) {
  using enum ThreadClass;
  EXPECT_EQ(classify_thread("CPU 3/KVM", "/"), (ThreadKind{kVcpu, 3}));
  EXPECT_EQ(classify_thread("CPU 128/KVM", "/"), (ThreadKind{kVcpu, 128}));
  EXPECT_EQ(classify_thread("IO iothread1", "/"), (ThreadKind{kIothread, 0}));
  EXPECT_EQ(classify_thread("vhost-71", "/"), (ThreadKind{kVhost, 0}));
  EXPECT_EQ(classify_thread("worker", "/"), (ThreadKind{kEmulator, 0}));
}

TEST(ClassifyThread, GoesByCgroupWithoutNames) {
  using enum ThreadClass;
  EXPECT_EQ(classify_thread("qemu", "/s/libvirt/vcpu7"),
            (ThreadKind{kVcpu, 7}));
  EXPECT_EQ(classify_thread("qemu", "/s/iothread2"),
            (ThreadKind{kIothread, 0}));
  EXPECT_EQ(classify_thread("qemu", "/s/emulator"), (ThreadKind{kEmulator, 0}));
}

TEST(ClassifyThread, IsNotFooledByLookalikes) {
  for (const char* name : {"CPU /KVM", "CPU x/KVM", "CPU 3/TCG", "CPU 3/KVMx",
                           "vhost-", "vhost-x", "CPU -1/KVM"}) {
    EXPECT_EQ(classify_thread(name, "/vcpu").thread_class,
              ThreadClass::kEmulator)
        << name;
  }
}

TEST_F(DiscoveryTest, AVcpuIsKnownByItsSystemCall) {
  host_.add({.pid = 71,
             .descriptors = {"anon_inode:kvm-vm", "anon_inode:kvm-vcpu:5"}});
  host_.add_thread(71, 75, "qemu");
  host_.write("proc/71/task/75/syscall",
              "16 0x1 0xae80 0x0 0x0 0x0 0x0 0x7 0x8\n");
  EXPECT_EQ(read_thread_kind(proc_, 71, 75).value(),
            (ThreadKind{ThreadClass::kVcpu, 5}));
  host_.write("proc/71/task/75/syscall",
              "16 0x0 0xae80 0x0 0x0 0x0 0x0 0x7 0x8\n");
  EXPECT_EQ(read_thread_kind(proc_, 71, 75).value(), ThreadKind{});
  EXPECT_FALSE(read_thread_kind(proc_, 71, 76));
}

TEST_F(DiscoveryTest, AWorkerOfKvmIsNoVcpu) {
  host_.add({.pid = 71,
             .descriptors = {"anon_inode:kvm-vm", "anon_inode:kvm-vcpu:5"}});
  host_.add_thread(71, 75, "kvm-nx-lpage-re");
  host_.write("proc/71/task/75/syscall", "16 0x1 0xae80 0x0 0x0 0x0 0x0 0x7\n");
  host_.write_task_stat(71, 75, 0x404040);
  EXPECT_EQ(read_thread_kind(proc_, 71, 75).value(), ThreadKind{});
}

TEST_F(DiscoveryTest, ListsThreadsOfTheProcessAndItsVhostWorkers) {
  const std::string vm = add_libvirt_vm(71);
  host_.add_thread(71, 75, "CPU 0/KVM", vm + "/vcpu0");
  host_.add_thread(71, 76, "IO iothread1", vm + "/emulator");
  const std::uint32_t kernel = 0x208040;
  host_.add({.pid = 80, .comm = "vhost-71", .flags = kernel});
  host_.add({.pid = 81, .comm = "vhost-99", .flags = kernel});  // another VM's
  host_.add({.pid = 82, .comm = "vhost-71"});  // calls itself so
  host_.add({.pid = 83, .comm = "vhost-71", .flags = kernel});  // elsewhere
  host_.write("cgroup" + vm + "/emulator/cgroup.threads",
              "71\n76\n80\n81\n82\n");
  auto threads = list_vm_threads(proc_, &tree_, *identify(proc_, &tree_, 71));
  ASSERT_TRUE(threads);
  using enum ThreadClass;
  EXPECT_EQ(*threads, (std::vector<VmThread>{{71, 71, {kEmulator, 0}},
                                             {71, 75, {kVcpu, 0}},
                                             {71, 76, {kIothread, 0}},
                                             {80, 80, {kVhost, 0}}}));
}

TEST_F(DiscoveryTest, FindsVhostWorkersOfAVmWithoutCgroup) {
  host_.add(
      {.pid = 71, .descriptors = {"anon_inode:kvm-vm", "/dev/vhost-net"}});
  host_.add({.pid = 80, .comm = "vhost-71", .flags = 0x208040});
  auto threads = list_vm_threads(proc_, &tree_, *identify(proc_, &tree_, 71));
  ASSERT_TRUE(threads);
  ASSERT_EQ(threads->size(), 2U);
  EXPECT_EQ(threads->at(1).tid, 80);
}

// The real /proc: pidfds cannot be faked.
TEST(ProcessWatch, TellsTheEndOfThatProcess) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::pause();
    ::_exit(0);
  }
  auto proc = ProcRoot::open();
  ASSERT_TRUE(proc);
  VmIdentity vm = of_pid(child);
  vm.start_ticks = read_stat(*proc, child)->start_ticks;
  auto watch = ProcessWatch::open(*proc, vm);
  ASSERT_TRUE(watch) << watch.error().what;
  EXPECT_FALSE(watch->has_ended());
  ::kill(child, SIGKILL);
  siginfo_t info{};
  ::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT);
  EXPECT_TRUE(watch->has_ended());
  ::waitpid(child, nullptr, 0);
  EXPECT_TRUE(watch->has_ended());
  EXPECT_EQ(ProcessWatch::open(*proc, vm).error().code, ESRCH);
}

TEST(ProcessWatch, RefusesAReusedPid) {
  auto proc = ProcRoot::open();
  ASSERT_TRUE(proc);
  VmIdentity vm = of_pid(::getpid());
  vm.start_ticks = read_stat(*proc, vm.pid)->start_ticks + 1;
  auto watch = ProcessWatch::open(*proc, vm);
  ASSERT_FALSE(watch);
  EXPECT_EQ(watch.error().code, ESRCH);
}

}  // namespace
}  // namespace outrider
