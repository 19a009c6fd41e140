// SPDX-License-Identifier: Apache-2.0
#include "agent/identity.h"

#include <gtest/gtest.h>

namespace outrider {
namespace {

QemuNames names_of(std::vector<std::string> options) {
  options.insert(options.begin(), "qemu-system-x86_64");
  return parse_qemu_cmdline(options);
}

constexpr const char* kUuid = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9";

TEST(QemuCmdline, TakesTheGuestOfName) {
  EXPECT_EQ(names_of({"-name", "guest=web-3,debug-threads=on"}).name, "web-3");
  EXPECT_EQ(names_of({"-name", "debug-threads=on,guest=web"}).name, "web");
}

TEST(QemuCmdline, TakesTheFirstWordOfNameWithoutKey) {
  EXPECT_EQ(names_of({"-name", "web"}).name, "web");
  EXPECT_EQ(names_of({"-name", "web,debug-threads=on"}).name, "web");
  EXPECT_EQ(names_of({"-name", "debug-threads=on"}).name, "");
}

TEST(QemuCmdline, ReadsTwoCommasAsOne) {
  EXPECT_EQ(names_of({"-name", "guest=a,,b,debug-threads=on"}).name, "a,b");
  EXPECT_EQ(names_of({"-name", "guest=a,,,,b"}).name, "a,,b");
}

TEST(QemuCmdline, AcceptsTwoDashes) {
  EXPECT_EQ(names_of({"--name", "web", "--uuid", kUuid}).uuid, kUuid);
}

TEST(QemuCmdline, TakesUuidInLowerCase) {
  EXPECT_EQ(names_of({"-uuid", "0A1B2C3D-4E5F-6071-8293-A4B5C6D7E8F9"}).uuid,
            kUuid);
}

TEST(QemuCmdline, TakesUuidOfSmbiosOnlyWithoutUuid) {
  const std::string smbios = std::string("type=1,uuid=") + kUuid;
  EXPECT_EQ(names_of({"-smbios", smbios}).uuid, kUuid);
  const std::string other = "11111111-4e5f-6071-8293-a4b5c6d7e8f9";
  EXPECT_EQ(names_of({"-uuid", other, "-smbios", smbios}).uuid, other);
  EXPECT_EQ(names_of({"-smbios", "type=2,uuid=" + other}).uuid, "");
}

TEST(QemuCmdline, RefusesWhatIsNoUuid) {
  EXPECT_EQ(names_of({"-uuid", "web"}).uuid, "");
  EXPECT_EQ(names_of({"-uuid", "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8fg"}).uuid,
            "");
  EXPECT_EQ(names_of({"-uuid", "00000000-0000-0000-0000-000000000000"}).uuid,
            "");
}

TEST(QemuCmdline, DoesNotTakeAValueForAnOption) {
  EXPECT_EQ(names_of({"-name", "-uuid", kUuid}).uuid, "");
}

TEST(QemuCmdline, TakesProxmoxNumber) {
  EXPECT_EQ(names_of({"-id", "100"}).id, "100");
}

TEST(QemuCmdline, ReplacesControlCharacters) {
  EXPECT_EQ(names_of({"-name", "a\x1b[31m\nb"}).name, "a?[31m?b");
}

TEST(QemuCmdline, EndsWithAnOptionWithoutValue) {
  EXPECT_EQ(names_of({"-name"}).name, "");
  EXPECT_EQ(parse_qemu_cmdline({}).name, "");
}

TEST(SystemdUnescape, TakesHexOnly) {
  EXPECT_EQ(systemd_unescape(R"(machine-qemu\x2d1\x2dweb.scope)"),
            "machine-qemu-1-web.scope");
  EXPECT_EQ(systemd_unescape(R"(a\x2)"), R"(a\x2)");
  EXPECT_EQ(systemd_unescape(R"(a\xzz)"), R"(a\xzz)");
  EXPECT_EQ(systemd_unescape(""), "");
}

TEST(PlaceOf, FindsLibvirtsNestedGroup) {
  const CgroupPlace place =
      place_of(R"(/machine.slice/machine-qemu\x2d12\x2dweb\x2d3.scope)"
               "/libvirt/emulator");
  EXPECT_EQ(place.origin, VmOrigin::kLibvirt);
  EXPECT_EQ(place.cgroup,
            R"(/machine.slice/machine-qemu\x2d12\x2dweb\x2d3.scope/libvirt)");
  EXPECT_EQ(place.name, "web-3");
}

TEST(PlaceOf, FindsTheScopeOfOlderLibvirt) {
  const CgroupPlace place =
      place_of(R"(/machine.slice/machine-qemu\x2d1\x2dweb.scope/emulator)");
  EXPECT_EQ(place.origin, VmOrigin::kLibvirt);
  EXPECT_EQ(place.cgroup, R"(/machine.slice/machine-qemu\x2d1\x2dweb.scope)");
}

TEST(PlaceOf, FindsLibvirtWithoutSystemd) {
  const CgroupPlace place = place_of("/machine/qemu-2-db.libvirt-qemu/vcpu0");
  EXPECT_EQ(place.origin, VmOrigin::kLibvirt);
  EXPECT_EQ(place.cgroup, "/machine/qemu-2-db.libvirt-qemu");
  EXPECT_EQ(place.name, "db");
}

TEST(PlaceOf, FindsProxmoxScope) {
  const CgroupPlace place = place_of("/qemu.slice/100.scope");
  EXPECT_EQ(place.origin, VmOrigin::kProxmox);
  EXPECT_EQ(place.cgroup, "/qemu.slice/100.scope");
  EXPECT_EQ(place.name, "100");
}

TEST(PlaceOf, TakesAnyOtherGroupAsItIs) {
  const CgroupPlace place = place_of("/kubepods.slice/pod1/cri-7.scope");
  EXPECT_EQ(place.origin, VmOrigin::kProcess);
  EXPECT_EQ(place.cgroup, "/kubepods.slice/pod1/cri-7.scope");
  EXPECT_EQ(place.name, "");
  EXPECT_EQ(place_of("/lab/x.scope/libvirt/vcpu1").cgroup,
            "/lab/x.scope/libvirt");
}

TEST(PlaceOf, TheRootIsNoPlace) {
  EXPECT_EQ(place_of("/").cgroup, "");
  EXPECT_EQ(place_of("").cgroup, "");
}

}  // namespace
}  // namespace outrider
