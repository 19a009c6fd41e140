// SPDX-License-Identifier: Apache-2.0
// Moves the knobs of real cgroups, lets a shell interfere, puts them back,
// removes them. The cgroups are the caller's, without anybody in them.
#include <fmt/core.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "agent/cgroup_actuator.h"
#include "agent/foreign_writes.h"
#include "agent/sys/clock.h"
#include "tests/unit/shell/allocations.h"

namespace outrider {
namespace {

using std::chrono::milliseconds;

bool all_right = true;

void report(const std::string& what, const std::string& seen,
            const std::string& want) {
  const bool right = seen == want;
  fmt::print("{} {}: {}{}\n", right ? "ok  " : "FAIL", what, seen,
             right ? "" : ", want " + want);
  all_right = all_right && right;
}

[[noreturn]] void give_up(const Error& error) {
  fmt::print(stderr, "act_check: {}\n", error.what);
  std::exit(2);
}

template <class T>
T must(Result<T> result) {
  if (!result) give_up(result.error());
  return std::move(*result);
}
void must(Result<> result) {
  if (!result) give_up(result.error());
}

std::string text_of(const Outcome& outcome) {
  switch (outcome.kind) {
    case Outcome::Kind::kApplied:
      return fmt::format("applied {}", outcome.value);
    case Outcome::Kind::kUnconfirmed:
      return fmt::format("unconfirmed errno={}", outcome.error);
    case Outcome::Kind::kForeign:
      return fmt::format("foreign {}", outcome.value);
    case Outcome::Kind::kGone:
      return "gone";
  }
  return "";
}

/// The cgroups below `top`, as the kernel has them.
class Files {
 public:
  explicit Files(std::string top) : top_(std::move(top)) {}

  std::string says(const std::string& file) const {
    std::ifstream stream(top_ + "/" + file);
    std::string line;
    std::getline(stream, line);
    return line;
  }
  std::map<std::string, std::string> all() const {
    std::map<std::string, std::string> lines;
    for (const auto& entry :
         std::filesystem::recursive_directory_iterator(top_)) {
      const std::string name = entry.path().filename();
      if (name == "cpu.max" || name == "cpu.max.burst" ||
          name == "cpu.weight" || name == "cpu.idle") {
        const std::string path = entry.path().lexically_relative(top_);
        lines[path] = says(path);
      }
    }
    return lines;
  }
  // Another process, as an operator's would be.
  void shell_writes(const std::string& text, const std::string& file) const {
    const std::string path = top_ + "/" + file;
    const pid_t child = ::fork();
    if (child == 0) {
      ::execl("/bin/sh", "sh", "-c", "echo \"$1\" >\"$2\"", "sh", text.c_str(),
              path.c_str(), nullptr);
      ::_exit(127);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    if (status != 0) give_up({0, "sh cannot write " + path});
  }
  // Deepest first.
  void remove() const {
    std::vector<std::string> directories{top_};
    for (const auto& entry :
         std::filesystem::recursive_directory_iterator(top_)) {
      if (entry.is_directory()) directories.push_back(entry.path());
    }
    std::sort(directories.rbegin(), directories.rend());
    for (const std::string& directory : directories) {
      if (::rmdir(directory.c_str()) != 0) give_up({errno, "rmdir"});
    }
  }

 private:
  std::string top_;
};

/// One VM in one layout. Invariant: attached until `removal`.
class Check {
 public:
  Check(const CgroupTree& tree, BaselineTable& table, const std::string& cgroup)
      : files_(tree.mount() + sibling_cgroup(cgroup)),
        own_(sibling_cgroup(cgroup) == cgroup ? "" : "libvirt/"),
        hands_(tree, table),
        others_(must(ForeignWrites::make(tree))),
        before_(files_.all()) {
    Vm vm;
    vm.id = kVm;
    vm.identity.cgroup = cgroup;
    vm.identity.cgroup_id = must(read_cgroup_id(tree, cgroup));
    const Split split = own_.empty() ? Split::kPooled : Split::kEqual;
    const AttachedKnobs found = must(
        hands_.attach(vm, {.split = split, .weights = WeightOwner::kOutrider}));
    for (const Error& missing : found.missing) {
      report("missing", missing.what, "");
    }
    must(others_.watch(kVm, found.cgroups));
  }

  void set(const Action& action, const std::string& want) {
    Outcome outcome;
    hands_.apply({&action, 1}, {&outcome, 1});
    report(fmt::format("{} = {}", to_text(action.knob), action.value),
           text_of(outcome), want);
  }
  void file(const std::string& name, const std::string& want) const {
    report(name, files_.says(name), want);
  }

  void values_and_order() {
    set(cap(300), "applied 300");
    file(own_ + "cpu.max", "30000 100000");
    set(burst(5000), "applied 5000");
    set(cap(20), "applied 20");  // lower than the burst
    file(own_ + "cpu.max", "2000 100000");
    file(own_ + "cpu.max.burst", "2000");
    set(cap(500), "applied 500");
    file(own_ + "cpu.max.burst", "5000");
    set(cap(-1), "applied -1");
    set(cap(1), "applied 10");  // the kernel's least
    set({.vm = kVm, .knob = Knob::kCpuWeight, .value = 10}, "applied 10");
    file("cpu.weight", "10");
    set({.vm = kVm, .knob = Knob::kCpuWeight, .value = 10001},
        fmt::format("unconfirmed errno={}", ERANGE));
    if (own_.empty()) return;
    set({.vm = kVm, .knob = Knob::kVcpuMax, .index = 1, .value = 700},
        "applied 700");
    file(own_ + "vcpu1/cpu.max", "70000 100000");
    file(own_ + "vcpu0/cpu.max", "max 100000");
  }

  void idle() {
    set({.vm = kVm, .knob = Knob::kCpuIdle, .value = 1}, "applied 1");
    // The kernel's own doing: 0, on later kernels 1.
    const std::string weight = files_.says("cpu.weight");
    report("an idle group's weight", weight, weight == "0" ? "0" : "1");
    report("own writes", std::to_string(take().size()) + " foreign",
           "0 foreign");
  }

  void allocations_of_a_thousand() {
    Action action = cap(100);
    Outcome outcome;
    const std::uint64_t before = allocations();
    for (int i = 0; i < 1000; ++i) {
      action.value = 30 + i % 40;  // passes the burst, both ways
      hands_.apply({&action, 1}, {&outcome, 1});
    }
    report("allocations in 1,000 applies",
           std::to_string(allocations() - before), "0");
    report("the last of them", text_of(outcome), "applied 69");
  }

  void foreign_write() {
    (void)take();
    files_.shell_writes("70000 100000", own_ + "cpu.max");
    const Instant written = monotonic_now();
    std::vector<ForeignWrite> all;
    Duration noticed{};
    while (monotonic_now() - written < milliseconds{1500}) {
      const auto found = take();
      if (all.empty() && !found.empty()) noticed = monotonic_now() - written;
      all.insert(all.end(), found.begin(), found.end());
      std::this_thread::sleep_for(milliseconds{20});
    }
    const bool in_time = noticed < std::chrono::seconds{1};
    fmt::print("     noticed after {} ms\n",
               std::chrono::duration_cast<milliseconds>(noticed).count());
    report("noticed", in_time ? "within 1 s" : "late", "within 1 s");
    report("told of a foreign write", std::to_string(all.size()), "1");
    report("its value", std::to_string(all.empty() ? 0 : all[0].value), "700");
    set(cap(200), "foreign 700");
    file(own_ + "cpu.max", "70000 100000");
    Action again = cap(200);
    again.reason = Reason::kReassert;
    set(again, "applied 200");
  }

  void baselines_back() {
    must(hands_.restore(kVm));
    for (const auto& [name, line] : files_.all()) {
      report("back " + name, line, before_[name]);
    }
  }

  void removal() {
    set(cap(200), "applied 200");
    files_.remove();
    set(cap(300), "gone");
    must(hands_.detach(kVm));
    others_.forget(kVm);
  }

 private:
  static constexpr VmId kVm{1};
  static Action cap(std::int64_t value) { return {.vm = kVm, .value = value}; }
  static Action burst(std::int64_t value) {
    return {.vm = kVm, .knob = Knob::kCpuMaxBurst, .value = value};
  }
  std::vector<ForeignWrite> take() {
    const auto found = others_.take(monotonic_now(), hands_);
    return {found.begin(), found.end()};
  }

  Files files_;
  std::string own_;  // the VM's own cgroup, seen from where it has siblings
  CgroupActuator hands_;
  ForeignWrites others_;
  std::map<std::string, std::string> before_;
};

void check(const CgroupTree& tree, BaselineTable& table,
           const std::string& cgroup) {
  fmt::print("{}\n", cgroup);
  Check check{tree, table, cgroup};
  check.values_and_order();
  check.idle();
  check.allocations_of_a_thousand();
  check.foreign_write();
  check.baselines_back();
  check.removal();
}

}  // namespace
}  // namespace outrider

int main(int count, char** arguments) {
  using namespace outrider;
  if (count < 2) {
    fmt::print(stderr, "usage: act_check CGROUP...\n");
    return 2;
  }
  const CgroupTree tree = must(open_host_cgroups(must(ProcRoot::open())));
  std::string dir = "/run/act_check.XXXXXX";
  if (::mkdtemp(dir.data()) == nullptr) give_up({errno, "mkdtemp"});
  BaselineTable table = must(BaselineTable::open(dir, tree.mount()));
  for (int i = 1; i < count; ++i) check(tree, table, arguments[i]);
  std::filesystem::remove_all(dir);
  return all_right ? 0 : 1;
}
