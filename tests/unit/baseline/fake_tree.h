// SPDX-License-Identifier: Apache-2.0
// A tree of ordinary files that looks like cgroups, and a table beside it.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>

#include "agent/baseline/mapping.h"
#include "agent/baseline/record.h"
#include "agent/baseline/restore.h"
#include "agent/baseline/table.h"
#include "agent/sys/fd.h"

namespace outrider {

class FakeTree : public testing::Test {
 protected:
  FakeTree() {
    std::string path = testing::TempDir() + "/baseline-XXXXXX";
    top_ = ::mkdtemp(path.data());
    std::filesystem::create_directory(mount());
    mount_fd_ = Fd{::open(mount().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  }
  ~FakeTree() override { std::filesystem::remove_all(top_); }

  std::string dir() const { return top_ + "/run"; }
  std::string mount() const { return top_ + "/mount"; }
  int mount_fd() const { return mount_fd_.get(); }

  /// A knob of /vm, which is made if it is not there, holding `text`.
  KnobBaseline knob(const std::string& attribute, const std::string& text,
                    const std::string& cgroup = "/vm") {
    std::filesystem::create_directories(mount() + cgroup);
    write(attribute, text, cgroup);
    struct stat facts {};
    EXPECT_EQ(::stat((mount() + cgroup).c_str(), &facts), 0);
    return {cgroup, facts.st_ino, attribute, text};
  }
  void write(const std::string& attribute, const std::string& text,
             const std::string& cgroup = "/vm") {
    std::ofstream(mount() + cgroup + "/" + attribute) << text << '\n';
  }
  std::string read(const std::string& attribute,
                   const std::string& cgroup = "/vm") {
    std::ifstream file(mount() + cgroup + "/" + attribute);
    std::string line;
    std::getline(file, line);
    return line;
  }
  BaselineTable open() {
    auto table = BaselineTable::open(dir(), mount());
    EXPECT_TRUE(table.has_value()) << table.error().what;
    return *std::move(table);
  }
  static BaselineSlot remember(BaselineTable& table, const KnobBaseline& knob) {
    auto slot = table.remember(knob);
    EXPECT_TRUE(slot.has_value()) << slot.error().what;
    return *slot;
  }
  /// As the agent does it.
  void set(BaselineTable& table, BaselineSlot slot, const KnobBaseline& knob,
           const std::string& text) {
    table.announce(slot, text);
    write(knob.attribute, text, knob.cgroup);
    table.confirm(slot, text);
  }
  /// As the warden does it.
  RestoreReport restore(const BaselineTable& table,
                        const RestoreVisitor& visitor = {}) {
    auto mapping = BaselineMapping::map(table.fd());
    EXPECT_TRUE(mapping.has_value());
    return restore_all(mount_fd(), mapping->file(), RestoreMode::kWrite,
                       visitor);
  }

 private:
  std::string top_;
  Fd mount_fd_;
};

}  // namespace outrider
