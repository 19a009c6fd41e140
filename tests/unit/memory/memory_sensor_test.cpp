// SPDX-License-Identifier: Apache-2.0
#include "agent/memory_sensor.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "agent/discovery.h"
#include "tests/unit/host_files/fake_host.h"
#include "tests/unit/memory/kernel_files.h"
#include "tests/unit/shell/allocations.h"

namespace outrider {
namespace {

using std::chrono::milliseconds;

std::string pressure(int some_us) {
  return "some avg10=0.00 avg60=0.00 avg300=0.00 total=" +
         std::to_string(some_us) +
         "\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n";
}

std::string stat(int anon, int scanned) {
  return "anon " + std::to_string(anon) +
         "\nfile 2\nshmem 1\nworkingset_refault_anon 3\n"
         "workingset_refault_file 4\npgscan " +
         std::to_string(scanned) + "\npgsteal 6\npgmajfault 7\n";
}

std::string events(int high) {
  return "low 0\nhigh " + std::to_string(high) + "\nmax 0\noom 0\noom_kill 0\n";
}

// A host of 6.1 with VMs in libvirt's layout, of which 71 is one.
class MemorySensorTest : public testing::Test {
 protected:
  MemorySensorTest() {
    for (const char* name : {"meminfo", "vmstat", "zoneinfo"}) {
      host_.write(std::string{"proc/"} + name,
                  kernel_file(std::string{"6.1/"} + name));
    }
    host_.write("proc/pressure/memory", pressure(50));
    proc_ = *ProcRoot::open(host_.proc());
    tree_ = *CgroupTree::open(host_.cgroups());
  }

  // A VM whose memory is in `cgroup`, and which itself may be further down.
  Vm add_vm(int pid, const std::string& cgroup, const std::string& own) {
    host_.add_cgroup(own);
    host_.write("cgroup" + cgroup + "/cgroup.procs",
                std::to_string(pid) + "\n");
    set(cgroup, "memory.current", "4096\n");
    set(cgroup, "memory.swap.current", "8192\n");
    set(cgroup, "memory.pressure", pressure(0));
    set(cgroup, "memory.events", events(0));
    set(cgroup, "memory.stat", stat(1, 5));
    host_.add({.pid = pid, .cgroup = own});
    Vm vm;
    vm.id = VmId{static_cast<std::uint32_t>(pid)};
    vm.identity = *identify(*proc_, &*tree_, pid);
    vm.identity.cgroup = own;
    vm.identity.cgroup_id = *read_cgroup_id(*tree_, own);
    return vm;
  }
  Vm add_vm(int pid) {
    const std::string cgroup = cgroup_of(pid);
    return add_vm(pid, cgroup, cgroup);
  }
  static std::string cgroup_of(int pid) {
    return "/machine.slice/vm" + std::to_string(pid) + ".scope/libvirt";
  }
  void set(const std::string& cgroup, const std::string& file,
           const std::string& text) {
    host_.write("cgroup" + cgroup + "/" + file, text);
  }

  MemorySensor open(const CgroupTree* tree) {
    return *MemorySensor::open(*proc_, tree);
  }
  MemorySensor open() { return open(&*tree_); }
  const MemorySample& read(MemorySensor& sensor,
                           milliseconds after = milliseconds{100}) {
    now_ += after;
    return sensor.read(now_);
  }

  FakeHost host_;
  std::optional<ProcRoot> proc_;
  std::optional<CgroupTree> tree_;
  Instant now_{std::chrono::seconds{100}};
};

TEST_F(MemorySensorTest, TellsTheHostAndEachVm) {
  MemorySensor sensor = open();
  ASSERT_TRUE(sensor.attach(add_vm(72)));
  ASSERT_TRUE(sensor.attach(add_vm(71)));
  set(cgroup_of(72), "memory.current", "12288\n");
  const MemorySample& sample = read(sensor);
  EXPECT_EQ(sample.taken, now_);
  EXPECT_EQ(sample.host.amounts, parse_meminfo(kernel_file("6.1/meminfo")));
  EXPECT_EQ(sample.host.activity, parse_vmstat(kernel_file("6.1/vmstat")));
  ASSERT_TRUE(sample.host.zones);
  EXPECT_EQ(sample.host.zones->low_watermark,
            Bytes{(80 + 10346 + 10691) * ::sysconf(_SC_PAGESIZE)});
  EXPECT_EQ(sample.host.pressure, (MemoryPressure{.some_us = 50}));
  ASSERT_EQ(sample.vms.size(), 2U);
  const VmMemory& vm = sample.vms[0];
  EXPECT_EQ(vm.id, VmId{71});
  EXPECT_EQ(vm.current, Bytes{4096});
  EXPECT_EQ(vm.swap, Bytes{8192});
  EXPECT_EQ(vm.pressure, MemoryPressure{});
  EXPECT_EQ(vm.events, MemoryEvents{});
  ASSERT_TRUE(vm.stat);
  EXPECT_EQ(vm.stat->refaults_file, 4U);
  EXPECT_EQ(vm.stat_taken, now_);
  EXPECT_EQ(vm.resets, 0U);
  EXPECT_FALSE(vm.is_gone);
  EXPECT_EQ(sample.vms[1].current, Bytes{12288});
}

TEST_F(MemorySensorTest, WhatIsNotSeenIsMissingAndSaid) {
  host_.remove("proc/pressure");
  host_.remove("proc/vmstat");
  Vm vm = add_vm(71);
  host_.remove("cgroup" + cgroup_of(71) + "/memory.swap.current");
  host_.remove("cgroup" + cgroup_of(71) + "/memory.pressure");
  MemorySensor sensor = open();
  ASSERT_TRUE(sensor.attach(vm));
  const MemorySample& sample = read(sensor);
  EXPECT_TRUE(sample.host.amounts);
  EXPECT_FALSE(sample.host.activity);
  EXPECT_FALSE(sample.host.pressure);
  EXPECT_FALSE(sample.host.memcg_reclaims);
  EXPECT_TRUE(sample.vms[0].current);
  EXPECT_FALSE(sample.vms[0].swap);
  EXPECT_FALSE(sample.vms[0].pressure);
  EXPECT_FALSE(sample.vms[0].first_touches);
  EXPECT_FALSE(sample.vms[0].direct_reclaims);
  ASSERT_EQ(sensor.missing().size(), 2U);
  EXPECT_NE(sensor.missing()[0].what.find("vmstat"), std::string::npos);
  EXPECT_NE(sensor.missing()[1].what.find("PSI"), std::string::npos);
}

TEST_F(MemorySensorTest, AFigureThatFailsIsMissingUntilItIsBack) {
  MemorySensor sensor = open();
  ASSERT_TRUE(sensor.attach(add_vm(71)));
  read(sensor);
  set(cgroup_of(71), "memory.current", "nonsense\n");
  set(cgroup_of(71), "memory.events", "low 0\n");
  host_.write("proc/meminfo", "");
  const MemorySample& sample = read(sensor);
  EXPECT_FALSE(sample.vms[0].current);
  EXPECT_FALSE(sample.vms[0].events);
  EXPECT_TRUE(sample.vms[0].swap);
  EXPECT_FALSE(sample.vms[0].is_gone);
  EXPECT_FALSE(sample.host.amounts);
  set(cgroup_of(71), "memory.current", "20480\n");
  set(cgroup_of(71), "memory.events", events(0));
  read(sensor);
  EXPECT_EQ(sample.vms[0].current, Bytes{20480});
  EXPECT_TRUE(sample.vms[0].events);
  EXPECT_EQ(sample.vms[0].resets, 0U);
}

TEST_F(MemorySensorTest, ACounterThatGoesBackIsToldOnce) {
  MemorySensor sensor = open();
  set(cgroup_of(71), "memory.current", "1\n");
  Vm vm = add_vm(71);
  set(cgroup_of(71), "memory.events", events(9));
  ASSERT_TRUE(sensor.attach(vm));
  const MemorySample& sample = read(sensor);
  EXPECT_EQ(sample.vms[0].resets, 0U);
  set(cgroup_of(71), "memory.events", "");  // a read that fails between
  read(sensor);
  set(cgroup_of(71), "memory.events", events(3));
  read(sensor);
  EXPECT_EQ(sample.vms[0].resets, 1U);
  EXPECT_EQ(sample.vms[0].events->high, 3U);
  read(sensor);
  EXPECT_EQ(sample.vms[0].resets, 1U);
  EXPECT_EQ(sample.host.resets, 0U);
  host_.write("proc/pressure/memory", pressure(49));
  read(sensor);
  EXPECT_EQ(sample.host.resets, 1U);
}

// 71 % 8 = 7, so its second has 31/32 of one: 968.75 ms.
TEST_F(MemorySensorTest, StatIsReadEachSecondOrWherePressureMoved) {
  MemorySensor sensor = open();
  ASSERT_TRUE(sensor.attach(add_vm(71)));
  const MemorySample& sample = read(sensor);
  const Instant first = now_;
  set(cgroup_of(71), "memory.stat", stat(11, 5));
  for (int i = 0; i < 9; ++i) read(sensor);
  EXPECT_EQ(sample.vms[0].stat->anon, Bytes{1});
  EXPECT_EQ(sample.vms[0].stat_taken, first);
  read(sensor);  // 1,000 ms
  EXPECT_EQ(sample.vms[0].stat->anon, Bytes{11});
  EXPECT_EQ(sample.vms[0].stat_taken, now_);
  set(cgroup_of(71), "memory.stat", stat(12, 5));
  set(cgroup_of(71), "memory.pressure", pressure(1));
  read(sensor);
  EXPECT_EQ(sample.vms[0].stat->anon, Bytes{12});
  set(cgroup_of(71), "memory.stat", stat(13, 5));
  read(sensor);
  EXPECT_EQ(sample.vms[0].stat->anon, Bytes{12});
}

TEST_F(MemorySensorTest, StatsOfManyVmsDoNotComeTogether) {
  MemorySensor sensor = open();
  for (int pid = 100; pid < 108; ++pid) {
    ASSERT_TRUE(sensor.attach(add_vm(pid)));
  }
  read(sensor);
  // In each 31.25 ms from 750 ms on one of them.
  for (int i = 0; i < 8; ++i) {
    const MemorySample& sample =
        read(sensor, i == 0 ? milliseconds{751} : milliseconds{32});
    const auto fresh = std::count_if(
        sample.vms.begin(), sample.vms.end(),
        [&](const VmMemory& vm) { return vm.stat_taken == sample.taken; });
    EXPECT_EQ(fresh, 1) << i;
  }
}

TEST_F(MemorySensorTest, ReadsAllocateNothing) {
  MemorySensor sensor = open();
  ASSERT_TRUE(sensor.attach(add_vm(71)));
  Vm broken = add_vm(72);
  set(cgroup_of(72), "memory.stat", "");
  ASSERT_TRUE(sensor.attach(broken));
  const std::uint64_t before = allocations();
  for (int i = 0; i < 20; ++i) read(sensor);
  EXPECT_EQ(allocations(), before);
}

TEST_F(MemorySensorTest, AFileThatOutgrowsTheBufferIsMissing) {
  MemorySensor sensor = open();
  const std::string text = kernel_file("6.1/vmstat");
  host_.write("proc/vmstat", text + std::string(16 * 1024, '\n'));
  EXPECT_FALSE(read(sensor).host.activity);
  // zoneinfo is read piece by piece: with many CPUs it is longer than that.
  std::string zones = kernel_file("6.1/zoneinfo");
  std::string many;
  for (int cpu = 0; cpu < 2000; ++cpu) {
    many += "    cpu: " + std::to_string(cpu) + "\n              high:  378\n";
  }
  zones.insert(zones.find("Node 0, zone    DMA32"), many);
  host_.write("proc/zoneinfo", zones);
  const MemorySample& sample = read(sensor);
  ASSERT_TRUE(sample.host.zones);
  EXPECT_EQ(sample.host.zones->low_watermark,
            Bytes{(80 + 10346 + 10691) * ::sysconf(_SC_PAGESIZE)});
}

TEST_F(MemorySensorTest, FindsTheGroupThatMemoryIsChargedTo) {
  MemorySensor sensor = open();
  const std::string libvirt = "/machine.slice/a.scope/libvirt";
  ASSERT_TRUE(sensor.attach(add_vm(71, libvirt, libvirt + "/emulator")));
  EXPECT_EQ(sensor.cgroup_of(VmId{71}), libvirt);
  EXPECT_EQ(sensor.cgroup_of(VmId{70}), "");
  // Two levels are the most that it may be above.
  auto far = sensor.attach(add_vm(72, "/far", "/far/a/b/c"));
  ASSERT_FALSE(far);
  EXPECT_EQ(far.error().code, ENOENT);
}

TEST_F(MemorySensorTest, AGroupOfSeveralVmsIsNobodys) {
  MemorySensor sensor = open();
  Vm vm = add_vm(71, "/shared", "/shared/a");
  (void)add_vm(72, "/shared/b", "/shared/b");
  auto attached = sensor.attach(vm);
  ASSERT_FALSE(attached);
  EXPECT_EQ(attached.error().code, EBUSY);
  EXPECT_TRUE(read(sensor).vms.empty());
}

TEST_F(MemorySensorTest, RefusesWhatItCannotSee) {
  MemorySensor sensor = open();
  Vm vm = add_vm(71);
  EXPECT_EQ(sensor.detach(vm.id).error().code, ENOENT);
  EXPECT_EQ(sensor.limits(vm.id).error().code, ENOENT);
  ASSERT_TRUE(sensor.attach(vm));
  EXPECT_EQ(sensor.attach(vm).error().code, EEXIST);
  ASSERT_TRUE(sensor.detach(vm.id));
  EXPECT_TRUE(read(sensor).vms.empty());

  Vm other = vm;
  other.identity.cgroup_id += 1;
  EXPECT_EQ(sensor.attach(other).error().code, ESTALE);
  Vm bare = vm;
  bare.identity.cgroup.clear();
  EXPECT_EQ(sensor.attach(bare).error().code, ENOENT);
  host_.remove("cgroup" + cgroup_of(71) + "/memory.stat");
  EXPECT_EQ(sensor.attach(vm).error().code, ENOENT);
}

TEST_F(MemorySensorTest, WithoutCgroupsTheHostAloneIsSeen) {
  MemorySensor sensor = open(nullptr);
  EXPECT_EQ(sensor.attach(add_vm(71)).error().code, ENOENT);
  EXPECT_TRUE(read(sensor).host.amounts);
  ASSERT_EQ(sensor.missing().size(), 1U);
  EXPECT_NE(sensor.missing()[0].what.find("cgroup v2"), std::string::npos);
}

TEST_F(MemorySensorTest, WithoutMeminfoThereIsNone) {
  host_.remove("proc/meminfo");
  EXPECT_FALSE(MemorySensor::open(*proc_, nullptr));
}

TEST_F(MemorySensorTest, RunningOutOfDescriptorsIsNotTakenForAKernel) {
  Vm vm = add_vm(71);
  MemorySensor sensor = open();
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const int next = ::dup(0);  // the lowest that is free
  ASSERT_EQ(::close(next), 0);
  // Room for memory.current, but not for memory.swap.current.
  const rlimit tight{static_cast<rlim_t>(next) + 1, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &tight), 0);
  const auto attached = sensor.attach(vm);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  ASSERT_FALSE(attached);
  EXPECT_EQ(attached.error().code, EMFILE);
}

TEST(FillCounters, WhatIsNotSeenStaysMissing) {
  const eyes_memory counted{.first_touches = 1,
                            .direct_reclaims = 2,
                            .direct_reclaim_ns = 3,
                            .memcg_reclaims = 4,
                            .memcg_reclaim_ns = 5,
                            .memcg_pages = 6,
                            .untimed = 0,
                            .pad = 0};
  VmMemory vm;
  fill_counters(counted, {}, vm);
  EXPECT_FALSE(vm.first_touches || vm.direct_reclaims || vm.direct_reclaim_ns ||
               vm.memcg_reclaims || vm.memcg_reclaim_ns ||
               vm.memcg_reclaimed_pages);
  // As on a kernel that refuses programs at functions.
  fill_counters(counted, {.first_touches = true, .direct_reclaims = true}, vm);
  EXPECT_EQ(vm.first_touches, 1U);
  EXPECT_EQ(vm.direct_reclaims, 2U);
  EXPECT_EQ(vm.direct_reclaim_ns, 3U);
  EXPECT_FALSE(vm.memcg_reclaims);
  VmMemory other;
  fill_counters(counted, {.memcg_reclaims = true}, other);
  EXPECT_FALSE(other.first_touches || other.direct_reclaims);
  EXPECT_EQ(other.memcg_reclaims, 4U);
  EXPECT_EQ(other.memcg_reclaim_ns, 5U);
  EXPECT_EQ(other.memcg_reclaimed_pages, 6U);
}

// libvirt's threaded groups have no memory of their own; KubeVirt's may.
TEST_F(MemorySensorTest, CgroupsBelowTheVmsAreItsToo) {
  const std::string own = "/vms/a";
  for (const std::string& path :
       {own, own + "/inner", own + "/inner/most", own + "/inner/most/far"}) {
    host_.write("cgroup" + path + "/memory.current", "0\n");
  }
  host_.add_cgroup(own + "/threaded");
  EXPECT_EQ(
      list_memory_cgroups(*tree_, own),
      (std::vector<std::uint64_t>{
          *read_cgroup_id(*tree_, own), *read_cgroup_id(*tree_, own + "/inner"),
          *read_cgroup_id(*tree_, own + "/inner/most")}));
  for (int i = 0; i < 20; ++i) {
    host_.write("cgroup" + own + "/" + std::to_string(i) + "/memory.current",
                "0\n");
  }
  EXPECT_EQ(list_memory_cgroups(*tree_, own).size(), kMemoryCgroupsMax);
  EXPECT_TRUE(list_memory_cgroups(*tree_, "/no/such").empty());
}

TEST_F(MemorySensorTest, LimitsAreTheLeastAlongThePath) {
  MemorySensor sensor = open();
  ASSERT_TRUE(sensor.attach(add_vm(71)));
  const std::string slice = "/machine.slice";
  const std::string scope = slice + "/vm71.scope";
  const std::string own = scope + "/libvirt";
  for (const std::string& cgroup : {slice, scope, own}) {
    for (const char* file : {"memory.high", "memory.max", "memory.swap.max"}) {
      set(cgroup, file, "max\n");
    }
    set(cgroup, "memory.min", "0\n");
    set(cgroup, "memory.low", "4096\n");
  }
  set(own, "memory.low", "8192\n");
  set(scope, "memory.high", "1048576\n");
  set(own, "memory.high", "2097152\n");
  set(own, "memory.max", "4194304\n");
  const auto limits = sensor.limits(VmId{71});
  ASSERT_TRUE(limits) << limits.error().what;
  EXPECT_EQ(limits->cgroup, own);
  EXPECT_EQ(limits->min, (MemoryLimit{Bytes{0}, Bytes{0}, own}));
  EXPECT_EQ(limits->low, (MemoryLimit{Bytes{8192}, Bytes{4096}, scope}));
  EXPECT_EQ(limits->high, (MemoryLimit{Bytes{2097152}, Bytes{1048576}, scope}));
  EXPECT_EQ(limits->max, (MemoryLimit{Bytes{4194304}, Bytes{4194304}, own}));
  EXPECT_EQ(limits->swap_max,
            (MemoryLimit{kNoMemoryLimit, kNoMemoryLimit, own}));
  EXPECT_FALSE(limits->zswap_max);  // not in this kernel
}

TEST_F(MemorySensorTest, LimitsAreRefusedWhereAFileIsMalformed) {
  MemorySensor sensor = open();
  ASSERT_TRUE(sensor.attach(add_vm(71)));
  set(cgroup_of(71), "memory.high", "much\n");
  EXPECT_EQ(sensor.limits(VmId{71}).error().code, EPROTO);
  host_.remove("cgroup" + cgroup_of(71));
  EXPECT_EQ(sensor.limits(VmId{71}).error().code, ENOENT);
}

}  // namespace
}  // namespace outrider
