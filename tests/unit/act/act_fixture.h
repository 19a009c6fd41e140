// SPDX-License-Identifier: Apache-2.0
// Cgroups of VMs in a temporary directory, in the layouts that hosts have.
#pragma once

#include <gtest/gtest.h>

#include <cassert>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "agent/cgroup_actuator.h"
#include "tests/unit/act/fake_baseline.h"
#include "tests/unit/host_files/fake_host.h"

namespace outrider {

inline const std::string kScope =
    "/machine.slice/machine-qemu\\x2d1\\x2dweb.scope";
inline const std::string kLibvirt = kScope + "/libvirt";
inline const std::string kPlain = "/qemu.slice/101.scope";

class ActTest : public testing::Test {
 protected:
  ActTest()
      : tree_(opened(CgroupTree::open(host_.cgroups()))),
        table_(opened(BaselineTable::open("", ""))) {
    reset_fake_baseline();
    for (const std::string& path :
         {kScope, kLibvirt, kLibvirt + "/vcpu0", kLibvirt + "/vcpu1",
          kLibvirt + "/emulator", kPlain}) {
      make_cgroup(path);
    }
  }

  void make_cgroup(const std::string& path) const {
    put(path, "cpu.max", "max 100000");
    put(path, "cpu.max.burst", "0");
    put(path, "cpu.weight", "100");
    put(path, "cpu.idle", "0");
  }
  void put(const std::string& path, const std::string& file,
           const std::string& text) const {
    host_.write("cgroup" + path + "/" + file, text + "\n");
  }
  // The first line, as the kernel's files have but one.
  std::string says(const std::string& path, const std::string& file) const {
    std::ifstream stream(host_.cgroups() + path + "/" + file);
    std::string line;
    std::getline(stream, line);
    return line;
  }

  Vm vm(std::uint32_t id, const std::string& cgroup) const {
    Vm made;
    made.id = VmId{id};
    made.identity.name = "web";
    made.identity.cgroup = cgroup;
    made.identity.cgroup_id = read_cgroup_id(tree_, cgroup).value_or(0);
    return made;
  }

  template <class T>
  static T opened(Result<T> result) {
    assert(result);
    return std::move(*result);
  }

  static Outcome apply_one(CgroupActuator& hands, const Action& action) {
    Outcome outcome;
    hands.apply({&action, 1}, {&outcome, 1});
    return outcome;
  }
  static Action cap(std::uint32_t id, std::int64_t value,
                    Reason reason = Reason::kForecast) {
    return {.vm = VmId{id}, .reason = reason, .value = value};
  }
  static Outcome applied(std::int64_t value) {
    return {Outcome::Kind::kApplied, 0, value};
  }
  static Outcome foreign(std::int64_t value) {
    return {Outcome::Kind::kForeign, 0, value};
  }

  FakeHost host_;
  CgroupTree tree_;
  BaselineTable table_;
};

}  // namespace outrider
