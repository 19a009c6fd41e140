// SPDX-License-Identifier: Apache-2.0
// What it costs to set one cap, beside the bare system calls in the same run.
// The files are ordinary ones on a tmpfs: the kernel's own part is left out.
#include <fcntl.h>
#include <fmt/core.h>
#include <stdlib.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "agent/cgroup_actuator.h"
#include "agent/sys/clock.h"
#include "bench/probe/figures.h"

namespace outrider::bench {
namespace {

constexpr int kRounds = 21;
constexpr int kTimes = 20'000;

[[noreturn]] void give_up(const std::string& what) {
  fmt::print(stderr, "bench_act: {}\n", what);
  std::exit(2);
}

template <class T>
T must(Result<T> result) {
  if (!result) give_up(result.error().what);
  return std::move(*result);
}

/// A tree with one VM's cgroup. Invariant: it exists while this does.
class Tree {
 public:
  Tree() {
    if (::mkdtemp(root_.data()) == nullptr) give_up("mkdtemp " + root_);
    std::filesystem::create_directories(root_ + "/tree/vm");
    for (const auto& [file, text] :
         {std::pair{"cpu.max", "max 100000"}, std::pair{"cpu.max.burst", "0"},
          std::pair{"cpu.weight", "100"}, std::pair{"cpu.idle", "0"}}) {
      std::ofstream(root_ + "/tree/vm/" + file) << text << "\n";
    }
    std::ofstream(root_ + "/tree/bare") << "max 100000\n";
  }
  Tree(const Tree&) = delete;
  Tree& operator=(const Tree&) = delete;
  ~Tree() { std::filesystem::remove_all(root_); }
  std::string mount() const { return root_ + "/tree"; }
  std::string state() const { return root_ + "/state"; }

 private:
  std::string root_ = "/dev/shm/actXXXXXX";
};

// Of the thread's own time: what else the machine does is not in it.
template <class Call>
double ns_of(const Call& call) {
  const Duration start = thread_cpu_time();
  for (int i = 0; i < kTimes; ++i) call(i);
  return static_cast<double>((thread_cpu_time() - start).count()) / kTimes;
}

// Formatted beforehand, so that it is the system calls alone.
constexpr std::array<std::string_view, 2> kTexts{"20000 100000\n",
                                                 "30000 100000\n"};

void bare_write(int file, int i) {
  const std::string_view text = kTexts[static_cast<std::size_t>(i % 2)];
  if (::pwrite(file, text.data(), text.size(), 0) < 0) give_up("pwrite");
}
void bare_read(int file) {
  std::array<char, 48> buffer;
  if (::pread(file, buffer.data(), buffer.size(), 0) < 0) give_up("pread");
}

void show(const std::string& name, const std::vector<double>& values,
          const std::string& unit) {
  fmt::print("FIGURE {} {:.3f} {} ({:.3f} .. {:.3f})\n", name, median(values),
             unit, quantile(values, 0.25), quantile(values, 0.75));
}

int run() {
  const Tree files;
  const CgroupTree tree = must(CgroupTree::open(files.mount()));
  BaselineTable table = must(BaselineTable::open(files.state(), files.mount()));
  CgroupActuator hands{tree, table};
  Vm vm;
  vm.identity.cgroup = "/vm";
  vm.identity.cgroup_id = must(read_cgroup_id(tree, "/vm"));
  (void)must(hands.attach(vm, {}));
  const Fd bare{::open((files.mount() + "/bare").c_str(), O_RDWR | O_CLOEXEC)};
  bool right = true;
  const auto apply = [&](int i) {
    const Action action{.value = 200 + i % 2 * 100};
    Outcome outcome;
    hands.apply({&action, 1}, {&outcome, 1});
    right = right && outcome.value == action.value &&
            outcome.kind == Outcome::Kind::kApplied;
  };
  const auto one = [&](int i) { bare_write(bare.get(), i); };
  const auto three = [&](int i) {
    bare_read(bare.get());
    bare_write(bare.get(), i);
    bare_read(bare.get());
  };
  std::vector<double> applies, writes, calls, to_write, to_calls;
  for (int round = 0; round < kRounds; ++round) {
    writes.push_back(ns_of(one));
    calls.push_back(ns_of(three));
    applies.push_back((ns_of(apply) + ns_of(apply)) / 2);
    calls.back() = (calls.back() + ns_of(three)) / 2;
    writes.back() = (writes.back() + ns_of(one)) / 2;
    to_write.push_back(applies.back() / writes.back());
    to_calls.push_back(applies.back() / calls.back());
  }
  const std::uint64_t wanted = 2ULL * kRounds * kTimes;
  if (!right || hands.writes() != wanted) give_up("a cap was not set");
  show("act.apply", applies, "ns");
  show("act.bare_pwrite", writes, "ns");
  show("act.bare_pread_pwrite_pread", calls, "ns");
  show("act.apply_to_pwrite", to_write, "times");
  show("act.apply_to_calls", to_calls, "times");
  return 0;
}

}  // namespace
}  // namespace outrider::bench

int main() { return outrider::bench::run(); }
