// SPDX-License-Identifier: Apache-2.0
#include "qmp/command_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace outrider::qmp {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::vector<std::string> words(std::string_view text) {
  std::vector<std::string> all{"qemu-system-x86_64"};
  while (!text.empty()) {
    const std::size_t end = text.find(' ');
    all.emplace_back(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return all;
}

std::vector<std::string> sockets(std::string_view text) {
  return parse_command_line(words(text)).sockets;
}

MemoryBacking memory(std::string_view text) {
  return parse_command_line(words(text)).memory;
}

TEST(IsLibvirtMonitor, KnowsWhereLibvirtKeepsIt) {
  for (const char* path :
       {"/var/lib/libvirt/qemu/domain-12-web/monitor.sock",
        "/var/lib/libvirt/qemu/../qemu//domain-1-a/./monitor.sock",
        "/home/me/.config/libvirt/qemu/lib/domain-3-a/monitor.sock",
        "/run/private/libvirt/qemu/lib/domain-1-b/monitor.sock",
        "/var/lib/libvirt/qemu/web.monitor", "domain-1-a/monitor.sock"}) {
    EXPECT_TRUE(is_libvirt_monitor(path)) << path;
  }
}

TEST(IsLibvirtMonitor, KnowsNoOthers) {
  for (const char* path :
       {"/run/vm/web/monitor.sock", "/run/web.qmp", "monitor.sock", "", "/",
        "/var/lib/libvirt/qemu/domain-12-web/agent.sock",
        "/var/lib/libvirt/qemu/channel/target/qmp.sock"}) {
    EXPECT_FALSE(is_libvirt_monitor(path)) << path;
  }
}

TEST(ParseCommandLine, FindsQmpSockets) {
  EXPECT_THAT(sockets("-qmp unix:/run/a,server=on,wait=off"),
              ElementsAre("/run/a"));
  EXPECT_THAT(sockets("--qmp unix:/run/a,server,nowait -qmp-pretty "
                      "unix:/run/b,server=yes"),
              ElementsAre("/run/a", "/run/b"));
  EXPECT_THAT(sockets("-qmp unix:path=/run/a,server=on"),
              ElementsAre("/run/a"));
  EXPECT_THAT(sockets("-qmp unix:/run/a,,b,server=on"),
              ElementsAre("/run/a,b"));
}

TEST(ParseCommandLine, FindsChardevsOfMonitors) {
  EXPECT_THAT(sockets("-mon chardev=c,mode=control "
                      "-chardev socket,id=c,path=/run/c,server=on,wait=off"),
              ElementsAre("/run/c"));
  EXPECT_THAT(sockets("-chardev socket,id=c,path=/run/c,server=on "
                      "-mon c,mode=control"),
              ElementsAre("/run/c"));
  EXPECT_THAT(sockets("-chardev socket,id=c,path=/run/c,server=on "
                      "-qmp chardev:c"),
              ElementsAre("/run/c"));
  EXPECT_THAT(sockets("-chardev socket,id=c,path=/run/c,server=on "
                      "-object monitor-qmp,id=m,chardev=c"),
              ElementsAre("/run/c"));
}

TEST(ParseCommandLine, KeepsTheOrderOfTheMonitorsAndNamesEachOnce) {
  EXPECT_THAT(sockets("-chardev socket,id=c,path=/run/c,server=on "
                      "-qmp unix:/run/a,server=on -mon c,mode=control "
                      "-qmp unix:/run/a,server=on"),
              ElementsAre("/run/a", "/run/c"));
}

TEST(ParseCommandLine, PassesOverWhatIsNoSocketThatListens) {
  for (const char* line :
       {"-qmp tcp:localhost:4444,server=on", "-qmp stdio", "-qmp unix:/run/a",
        "-qmp unix:/run/a,server=off", "-qmp", "-qmp unix:,server=on",
        "-monitor unix:/run/a,server=on",
        "-qmp unix:/run/a,server=on,abstract=on",
        "-chardev socket,id=c,path=/run/c,server=on",
        "-chardev socket,id=c,path=/run/c,server=on -mon c",
        "-chardev socket,id=c,path=/run/c,server=on -mon c,mode=readline",
        "-chardev socket,id=c,port=1,server=on -mon c,mode=control",
        "-chardev file,id=c,path=/run/c,server=on -mon c,mode=control",
        "-mon none,mode=control", ""}) {
    EXPECT_THAT(sockets(line), IsEmpty()) << line;
  }
}

TEST(ParseCommandLine, LeavesOutLibvirtsOwn) {
  EXPECT_THAT(
      sockets("-chardev socket,id=charmonitor,path=/run/x,server=on "
              "-mon chardev=charmonitor,id=monitor,mode=control "
              "-qmp unix:/var/lib/libvirt/qemu/domain-1-a/monitor.sock,server "
              "-qmp unix:/run/second,server=on"),
      ElementsAre("/run/second"));
}

TEST(ParseCommandLine, SeesLockedMemory) {
  EXPECT_TRUE(memory("-overcommit mem-lock=on").locked);
  EXPECT_TRUE(memory("-overcommit cpu-pm=on,mem-lock=on").locked);
  EXPECT_TRUE(memory("-overcommit mem-lock=on-fault").locked);
  EXPECT_TRUE(memory("-overcommit mem-lock").locked);
  EXPECT_TRUE(memory("-realtime mlock=on").locked);
  EXPECT_FALSE(memory("-overcommit mem-lock=off").locked);
  EXPECT_FALSE(memory("-realtime mlock=off").locked);
}

TEST(ParseCommandLine, SeesDevicesThatPinMemory) {
  EXPECT_TRUE(memory("-device vfio-pci,host=01:00.0").passthrough);
  EXPECT_TRUE(
      memory("-device {\"driver\":\"vfio-pci\",\"host\":\"1\"}").passthrough);
  EXPECT_TRUE(memory("-netdev vhost-vdpa,id=n").passthrough);
  EXPECT_TRUE(memory("-netdev type=vhost-vdpa,id=n").passthrough);
  EXPECT_FALSE(memory("-device virtio-net-pci").passthrough);
  EXPECT_FALSE(memory("-device {\"driver\":7}").passthrough);
  EXPECT_FALSE(memory("-device {broken").passthrough);
}

TEST(ParseCommandLine, SeesWhatBacksMemory) {
  const auto huge = memory(
      "-object memory-backend-file,id=m,mem-path=/dev/hugepages/a,"
      "prealloc=on,share=on");
  EXPECT_TRUE(huge.huge_pages && huge.preallocated && huge.shared);
  EXPECT_THAT(huge.files, ElementsAre("/dev/hugepages/a"));
  const auto json = memory(
      "-object {\"qom-type\":\"memory-backend-file\",\"id\":\"m\","
      "\"mem-path\":\"/var/a\",\"share\":true,\"prealloc\":false}");
  EXPECT_TRUE(json.shared);
  EXPECT_FALSE(json.huge_pages || json.preallocated);
  const auto old = memory("-mem-path /dev/hugepages -mem-prealloc");
  EXPECT_TRUE(old.huge_pages && old.preallocated);
  const auto memfd = memory("-object memory-backend-memfd,id=m,hugetlb=on");
  EXPECT_TRUE(memfd.huge_pages && memfd.shared);
  EXPECT_FALSE(memory("-object memory-backend-memfd,id=m,share=off").shared);
  const auto plain = memory("-object memory-backend-ram,id=m,size=1G -m 256");
  EXPECT_FALSE(plain.huge_pages || plain.preallocated || plain.shared);
  EXPECT_THAT(plain.files, IsEmpty());
}

TEST(ParseCommandLine, SeesEncryptedGuests) {
  EXPECT_TRUE(memory("-object sev-guest,id=s,cbitpos=47").encrypted);
  EXPECT_TRUE(memory("-object {\"qom-type\":\"tdx-guest\"}").encrypted);
  EXPECT_FALSE(memory("-object rng-random,id=r").encrypted);
}

TEST(SplitCommandLine, SplitsAtEachNul) {
  EXPECT_THAT(split_command_line(std::string_view("a\0b c\0\0d", 8)),
              ElementsAre("a", "b c", "", "d"));
  EXPECT_THAT(split_command_line(std::string_view("a\0", 2)), ElementsAre("a"));
  EXPECT_THAT(split_command_line(""), IsEmpty());
}

}  // namespace
}  // namespace outrider::qmp
