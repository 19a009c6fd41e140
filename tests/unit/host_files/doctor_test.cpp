// SPDX-License-Identifier: Apache-2.0
#include "agent/doctor.h"

#include <gtest/gtest.h>
#include <jansson.h>

#include <cerrno>

#include "tests/unit/host_files/fake_host.h"

namespace outrider {
namespace {

constexpr const char* kAllRights = "000001ffffffffff";

std::string release() { return "6.1.0-18-amd64"; }
std::string old_release() { return "5.10.0-1-amd64"; }
Result<> works(std::uint32_t /*map_type*/) { return {}; }
Result<> refuses(std::uint32_t /*map_type*/) { return fail(EPERM, "bpf"); }
Result<> may() { return {}; }
Result<> may_not() { return fail(EPERM, "sched_setscheduler"); }
std::vector<DoctorLine> one_program() {
  return {{"bpf", "sched_switch", DoctorState::kOk, "loads", "", ""}};
}
std::vector<DoctorLine> one_memory_program() {
  return {{"memory", "on_memcg_reclaim", DoctorState::kOk, "loads", "", ""}};
}

// A host where all is well: AMD, cgroup v2, one libvirt VM.
class DoctorTest : public testing::Test {
 protected:
  DoctorTest() {
    set_rights(kAllRights, "0");
    host_.write("proc/self/mounts", "c /sys/fs/cgroup cgroup2 rw 0 0\n");
    host_.write("proc/self/schedstat", "100 20 3\n");
    host_.write("proc/self/cgroup", "0::/\n");
    host_.write("proc/pressure/cpu", "some avg10=0.00\n");
    host_.write("proc/pressure/memory", "some total=0\nfull total=0\n");
    set_meminfo(0);
    host_.write("proc/zoneinfo",
                "Node 0, zone   Normal\n  pages free     524288\n"
                "        low      2560\n        high     5120\n");
    host_.write("sys/kernel/btf/vmlinux", "x");
    host_.write("sys/kernel/btf/kvm_amd", "x");
    host_.write("sys/kernel/security/lockdown", "[none] integrity\n");
    host_.write("sys/module/kvm/parameters/halt_poll_ns", "200000\n");
    host_.write("sys/module/kvm_amd/initstate", "live\n");
    host_.write("sys/kernel/debug/kvm/71-1/exits", "0\n");
    host_.write("dev/kvm", "");
    const std::string all = "cpuset cpu io memory\n";
    host_.write("cgroup/cgroup.controllers", all);
    host_.write("cgroup/cgroup.subtree_control", all);
    const std::string vm =
        R"(/machine.slice/machine-qemu\x2d1\x2dweb.scope/libvirt)";
    host_.write("cgroup" + vm + "/cpu.pressure", "some avg10=0.00\n");
    host_.write("cgroup" + vm + "/memory.current", "0\n");
    host_.add({.pid = 71, .cgroup = vm + "/emulator"});
    paths_ = {.proc = host_.proc(),
              .sys = host_.root() + "/sys",
              .dev = host_.root() + "/dev",
              .cgroup2 = host_.cgroups()};
  }

  void set_rights(const std::string& mask, const std::string& uid) {
    host_.write("proc/self/status", "Name:\tx\nUid:\t1\t" + uid +
                                        "\t1\t1\nCapEff:\t" + mask + "\n");
  }

  void set_meminfo(int swap_kib) {
    const std::string swap = std::to_string(swap_kib) + " kB\n";
    host_.write("proc/meminfo",
                "MemTotal: 4194304 kB\nMemFree: 2097152 kB\n"
                "MemAvailable: 3145728 kB\nSwapTotal: " +
                    swap + "SwapFree: " + swap +
                    "HugePages_Total:       0\nHugePages_Free:        0\n"
                    "Hugepagesize:       2048 kB\n");
  }

  DoctorLine line(const std::string& area, const std::string& what) {
    for (const DoctorLine& one : probe_host(paths_, calls_).lines) {
      if (one.area == area && one.what == what) return one;
    }
    ADD_FAILURE() << "no line " << area << " " << what;
    return {};
  }
  DoctorState state(const std::string& area, const std::string& what) {
    return line(area, what).state;
  }

  FakeHost host_;
  HostPaths paths_;
  HostCalls calls_{.kernel_release = release,
                   .create_bpf_map = works,
                   .try_loop_priority = may,
                   .probe_programs = one_program,
                   .probe_memory_programs = one_memory_program};
};

TEST_F(DoctorTest, FindsNothingWrongOnAGoodHost) {
  const DoctorReport report = probe_host(paths_, calls_);
  for (const DoctorLine& one : report.lines) {
    EXPECT_EQ(one.state, DoctorState::kOk)
        << one.area << " " << one.what << ": " << one.found;
    EXPECT_EQ(one.cost + one.advice, "") << one.area << " " << one.what;
    EXPECT_NE(one.found, "") << one.area << " " << one.what;
  }
  EXPECT_EQ(doctor_exit_code(report), 0);
  EXPECT_EQ(line("vm", "running").found, "1");
  EXPECT_NE(line("vm", "web").found.find("is libvirt's"), std::string::npos);
}

TEST_F(DoctorTest, NoGuestIsNoDegradation) {
  host_.remove("proc/71");
  host_.remove("sys/kernel/debug/kvm/71-1");
  host_.write("cgroup/machine.slice/cpu.pressure", "some avg10=0.00\n");
  EXPECT_EQ(line("vm", "running").found, "none");
  EXPECT_EQ(doctor_exit_code(probe_host(paths_, calls_)), 0);
}

TEST_F(DoctorTest, EachLossIsNamedWithItsCost) {
  host_.remove("sys/kernel/btf");
  EXPECT_EQ(state("kernel", "BTF"), DoctorState::kMissing);
  EXPECT_EQ(state("kvm", "exit reasons"), DoctorState::kDegraded);
  host_.write("sys/kernel/security/lockdown", "none [confidentiality]\n");
  EXPECT_EQ(state("kernel", "lockdown"), DoctorState::kMissing);
  host_.write("proc/self/schedstat", "0 0 0\n");
  EXPECT_EQ(state("kernel", "schedstat"), DoctorState::kDegraded);
  host_.remove("sys/module");
  EXPECT_EQ(state("kvm", "module"), DoctorState::kMissing);
  host_.remove("dev/kvm");
  EXPECT_EQ(state("kvm", "device"), DoctorState::kMissing);
  const DoctorReport report = probe_host(paths_, calls_);
  EXPECT_EQ(doctor_exit_code(report), 3);
  for (const DoctorLine& one : report.lines) {
    EXPECT_EQ(one.state == DoctorState::kOk, one.cost.empty())
        << one.area << " " << one.what;
  }
}

TEST_F(DoctorTest, NamesRightsThatAreMissing) {
  set_rights("0000000000000000", "1000");
  EXPECT_EQ(state("account", "user"), DoctorState::kDegraded);
  for (const char* right : {"CAP_BPF", "CAP_PERFMON", "CAP_SYS_RESOURCE",
                            "CAP_SYS_PTRACE", "CAP_SYS_NICE"}) {
    EXPECT_EQ(state("account", right), DoctorState::kDegraded) << right;
  }
  set_rights("0000000000200000", "0");  // CAP_SYS_ADMIN alone
  EXPECT_EQ(state("account", "CAP_BPF"), DoctorState::kOk);
  EXPECT_EQ(state("account", "CAP_SYS_NICE"), DoctorState::kDegraded);
  set_rights("000001fffeffffff", "0");  // all but CAP_SYS_RESOURCE
  EXPECT_EQ(state("account", "CAP_BPF"), DoctorState::kOk);
  EXPECT_EQ(state("account", "CAP_SYS_RESOURCE"), DoctorState::kDegraded);
}

TEST_F(DoctorTest, SaysWhichKernelsWereTried) {
  calls_.kernel_release = old_release;
  EXPECT_EQ(state("kernel", "version"), DoctorState::kDegraded);
  calls_.kernel_release = [] { return std::string("5.4.0"); };
  EXPECT_EQ(state("kernel", "version"), DoctorState::kMissing);
  calls_.kernel_release = [] { return std::string("odd"); };
  EXPECT_EQ(state("kernel", "version"), DoctorState::kUnknown);
  calls_.kernel_release = [] { return std::string("6.18.44-x"); };
  EXPECT_EQ(state("kernel", "version"), DoctorState::kOk);
}

TEST_F(DoctorTest, SaysThatBpfIsRefused) {
  calls_.create_bpf_map = refuses;
  EXPECT_EQ(state("bpf", "system call"), DoctorState::kMissing);
  EXPECT_NE(line("bpf", "ring buffer").advice.find("CAP_BPF"),
            std::string::npos);
}

TEST_F(DoctorTest, TellsHybridAndWhereControllersAre) {
  host_.write("proc/self/mounts",
              "c /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n"
              "c /sys/fs/cgroup/unified cgroup2 rw 0 0\n");
  host_.write("cgroup/cgroup.controllers", "memory\n");
  host_.write("cgroup/cgroup.subtree_control", "\n");
  EXPECT_EQ(state("cgroup", "version"), DoctorState::kDegraded);
  EXPECT_EQ(line("cgroup", "cpu").found, "bound to v1 as cpu");
  EXPECT_EQ(state("cgroup", "cpu"), DoctorState::kMissing);
  EXPECT_EQ(state("cgroup", "memory"), DoctorState::kDegraded);
  EXPECT_NE(line("cgroup", "memory").advice.find("echo +memory"),
            std::string::npos);
  EXPECT_EQ(line("cgroup", "io").found, "not in v2");
}

TEST_F(DoctorTest, TellsV1AndNone) {
  paths_.cgroup2.clear();
  host_.write("proc/self/mounts", "c /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n");
  EXPECT_EQ(line("cgroup", "version").found, "v1 only");
  EXPECT_EQ(state("pressure", "per cgroup"), DoctorState::kMissing);
  host_.write("proc/self/mounts", "");
  EXPECT_EQ(line("cgroup", "version").found, "no cgroup2 file system mounted");
}

TEST_F(DoctorTest, TellsAnUnknownKvmAndIntel) {
  host_.remove("sys/module/kvm_amd");
  host_.write("sys/module/kvm_pvm/x", "");
  EXPECT_NE(line("kvm", "module").found.find("kvm_pvm"), std::string::npos);
  EXPECT_EQ(state("kvm", "module"), DoctorState::kDegraded);
  host_.write("sys/module/kvm_intel/initstate", "live\n");
  EXPECT_NE(line("kvm", "module").found.find("not tested"), std::string::npos);
  EXPECT_EQ(state("kvm", "exit reasons"), DoctorState::kDegraded);
  host_.remove("sys/module/kvm_intel/initstate");  // built in
  EXPECT_EQ(state("kvm", "exit reasons"), DoctorState::kOk);
}

TEST_F(DoctorTest, AdvisesOnTheTrapOfRealTimeGroups) {
  calls_.try_loop_priority = may_not;
  EXPECT_EQ(state("loop", "SCHED_FIFO"), DoctorState::kDegraded);
  host_.write("proc/self/cgroup", "1:cpu:/session\n0::/\n");
  EXPECT_NE(line("loop", "SCHED_FIFO").advice.find("v1 cpu group /session"),
            std::string::npos);
  set_rights("0000000000000000", "0");
  EXPECT_EQ(line("loop", "SCHED_FIFO").advice, "give it CAP_SYS_NICE");
}

TEST_F(DoctorTest, SaysWhoOwnsEachVmsCgroup) {
  host_.remove("sys/kernel/debug/kvm/71-1");  // so that all are looked at
  const auto add = [&](int pid, const std::string& cgroup) {
    host_.add_cgroup(cgroup);
    host_.add({.pid = pid, .cgroup = cgroup});
    return "pid-" + std::to_string(pid);
  };
  const auto owner = [&](const std::string& name) {
    const std::string found = line("vm", name).found;
    return found.substr(found.find(" is ") + 4);
  };
  add(72, "/qemu.slice/100.scope");
  EXPECT_EQ(owner("100"), "Proxmox VE's or systemd's scope");
  EXPECT_EQ(owner(add(73, "/kubepods.slice/pod/cri-1.scope")), "kubelet's");
  EXPECT_EQ(owner(add(74, "/system.slice/vm.service")), "systemd's vm.service");
  EXPECT_EQ(owner(add(75, "/mine")), "nobody's");
  add(76, R"(/machine.slice/machine-qemu\x2d2\x2dold.scope)");
  EXPECT_EQ(state("vm", "old"), DoctorState::kDegraded);  // no nested group
  host_.add({.pid = 77});
  EXPECT_EQ(line("vm", "pid-77").found, "pid 77, no cgroup of its own");
  EXPECT_EQ(state("vm", "pid-77"), DoctorState::kDegraded);
}

TEST_F(DoctorTest, SaysHowMuchIsFreeAndWhereReclaimBegins) {
  // 2,560 and 5,120 pages of 4 KiB.
  EXPECT_EQ(line("memory", "free").found,
            "2048 MiB of 4096 MiB, 3072 MiB can be had without swapping; the "
            "kernel reclaims below 10 MiB and up to 20 MiB");
  host_.write("proc/zoneinfo", "");
  EXPECT_EQ(state("memory", "free"), DoctorState::kUnknown);
  host_.write("proc/zoneinfo",
              "Node 0, zone Normal\n pages free 1\n low 524289\n"
              " high 524290\n");
  EXPECT_NE(line("memory", "free").found.find("does so now"),
            std::string::npos);
}

TEST_F(DoctorTest, AChoiceAboutMemoryIsNeverMissing) {
  const auto found = [&](const std::string& what) {
    const DoctorLine one = line("memory", what);
    EXPECT_EQ(one.state, DoctorState::kOk) << what;
    return one.found;
  };
  const auto starts = [](const std::string& text, const std::string& with) {
    return text.rfind(with, 0) == 0;
  };
  EXPECT_TRUE(starts(found("swap"), "none"));
  EXPECT_EQ(found("zswap"), "not in this kernel");
  EXPECT_EQ(found("huge pages, transparent"), "not in this kernel");
  EXPECT_EQ(found("huge pages, set aside"), "none set aside");
  EXPECT_EQ(found("same-page merging"), "not in this kernel");
  EXPECT_EQ(found("NUMA balancing"), "not in this kernel");

  set_meminfo(1048576);
  host_.write("sys/module/zswap/parameters/enabled", "Y\n");
  host_.write("sys/module/zswap/parameters/compressor", "zstd\n");
  host_.write("sys/kernel/mm/transparent_hugepage/enabled",
              "always [madvise] never\n");
  host_.write("sys/kernel/mm/ksm/run", "1\n");
  host_.write("sys/kernel/mm/ksm/pages_sharing", "77\n");
  host_.write("proc/sys/kernel/numa_balancing", "1\n");
  EXPECT_EQ(found("swap"), "1024 MiB, 1024 MiB free");
  EXPECT_NE(found("zswap").find("(zstd)"), std::string::npos);
  EXPECT_TRUE(starts(found("huge pages, transparent"), "madvise: "));
  EXPECT_TRUE(starts(found("same-page merging"), "on: 77 pages"));
  EXPECT_TRUE(starts(found("NUMA balancing"), "on: "));

  host_.write("sys/module/zswap/parameters/enabled", "N\n");
  host_.write("sys/kernel/mm/ksm/run", "0\n");
  host_.write("proc/sys/kernel/numa_balancing", "0\n");
  EXPECT_EQ(found("zswap"), "off");
  EXPECT_EQ(found("same-page merging"), "off");
  EXPECT_TRUE(starts(found("NUMA balancing"), "off"));
}

TEST_F(DoctorTest, SaysWhoseMemoryIsNotSeen) {
  EXPECT_EQ(line("memory", "of VMs").found, "1 of 1 by their cgroups");
  host_.remove("sys/kernel/debug/kvm/71-1");  // so that all are looked at
  host_.add_cgroup("/plain");
  host_.add({.pid = 78, .cgroup = "/plain"});
  EXPECT_EQ(state("memory", "of VMs"), DoctorState::kDegraded);
  EXPECT_EQ(line("memory", "of VMs").found.rfind("1 of 2", 0), 0U);
  host_.remove("proc/pressure/memory");
  EXPECT_EQ(state("memory", "pressure"), DoctorState::kMissing);
}

TEST_F(DoctorTest, NamesOtherWriters) {
  host_.add({.pid = 80, .comm = "libvirtd", .descriptors = {}});
  EXPECT_EQ(line("vm", "other writers").found, "libvirtd");
  EXPECT_EQ(state("vm", "other writers"), DoctorState::kOk);
  host_.add({.pid = 81, .comm = "koordlet", .descriptors = {}});
  EXPECT_EQ(line("vm", "other writers").found, "libvirtd, koordlet");
  EXPECT_EQ(state("vm", "other writers"), DoctorState::kDegraded);
}

TEST_F(DoctorTest, CopesWithoutProc) {
  paths_.proc = "/no/such/proc";
  const DoctorReport report = probe_host(paths_, calls_);
  EXPECT_EQ(report.lines.size(), 1U);
  EXPECT_EQ(doctor_exit_code(report), 3);
}

const DoctorReport kReport{
    .kernel = "6.1",
    .lines = {{"kernel", "BTF", DoctorState::kOk, "there", "", ""},
              {"cgroup", "version", DoctorState::kDegraded, "hybrid \x1b[1m",
               "no knobs", "boot otherwise"},
              {"vm", "a\"b", DoctorState::kUnknown, "?", "who knows", ""}}};

TEST(DoctorTable, AlignsAndNamesCostAndAdvice) {
  EXPECT_EQ(doctor_table(kReport),
            "STATE     AREA    WHAT     FOUND\n"
            "ok        kernel  BTF      there\n"
            "degraded  cgroup  version  hybrid ?[1m\n"
            "                             costs: no knobs\n"
            "                             do: boot otherwise\n"
            "unknown   vm      a\"b      ?\n"
            "                             costs: who knows\n"
            "\n"
            "1 ok, 1 degraded, 0 missing, 1 unknown: this host is degraded; "
            "each cost is named above.\n");
}

TEST(DoctorTable, SaysThatAllIsWell) {
  const DoctorReport good{.kernel = "6.1", .lines = {kReport.lines[0]}};
  EXPECT_NE(doctor_table(good).find(
                "1 ok, 0 degraded, 0 missing, 0 unknown: this host can do all"),
            std::string::npos);
}

TEST(DoctorJson, IsSchema1) {
  json_error_t error;
  json_t* root = json_loads(doctor_json(kReport).c_str(), 0, &error);
  ASSERT_NE(root, nullptr) << error.text;
  EXPECT_EQ(json_integer_value(json_object_get(root, "schema")), 1);
  EXPECT_STREQ(json_string_value(json_object_get(root, "state")), "degraded");
  const json_t* lines = json_object_get(root, "lines");
  ASSERT_EQ(json_array_size(lines), 3U);
  const json_t* second = json_array_get(lines, 1);
  EXPECT_STREQ(json_string_value(json_object_get(second, "state")), "degraded");
  EXPECT_STREQ(json_string_value(json_object_get(second, "cost")), "no knobs");
  const json_t* count = json_object_get(root, "count");
  EXPECT_EQ(json_integer_value(json_object_get(count, "unknown")), 1);
  json_decref(root);
}

}  // namespace
}  // namespace outrider
