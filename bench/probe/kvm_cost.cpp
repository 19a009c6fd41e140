// SPDX-License-Identifier: Apache-2.0
#include "bench/probe/kvm_cost.h"

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "bench/probe/programs.h"

namespace outrider::bench {
namespace {

constexpr useconds_t kWindowUs = 100'000;
constexpr VmId kVm{1};

/// A minivm of ours that leaves its guest as fast as it can.
class Guest {
 public:
  explicit Guest(const char* minivm) {
    int ends[2];
    if (pipe(ends) != 0) exit(1);
    pid_ = fork();
    if (pid_ == 0) {
      dup2(ends[1], STDOUT_FILENO);
      execl(minivm, minivm, "--count", "1", "--mode", "io", "--forever",
            nullptr);
      _exit(127);
    }
    ::close(ends[1]);
    FILE* said = fdopen(ends[0], "r");
    char word[32];
    if (said == nullptr || fscanf(said, "%31s %d", word, &vm_pid_) != 2) {
      vm_pid_ = 0;
    }
    if (said != nullptr) fclose(said);
  }
  ~Guest() {
    kill(pid_, SIGTERM);
    waitpid(pid_, nullptr, 0);
  }
  Guest(const Guest&) = delete;
  Guest& operator=(const Guest&) = delete;
  pid_t vm_pid() const { return vm_pid_; }

 private:
  pid_t pid_ = 0;
  int vm_pid_ = 0;
};

// The time both programs took an exit, in one window; negative: none ran.
double ns_per_exit(Programs& programs, const char* entry, const char* exit) {
  programs.attach(entry);
  programs.attach(exit);
  const RunStats entry0 = run_stats(programs.program(entry));
  const RunStats exit0 = run_stats(programs.program(exit));
  usleep(kWindowUs);
  const RunStats entry1 = run_stats(programs.program(entry));
  const RunStats exit1 = run_stats(programs.program(exit));
  programs.detach_all();
  if (exit1.count == exit0.count || entry1.count == entry0.count) return -1;
  return static_cast<double>(entry1.time_ns - entry0.time_ns) /
             static_cast<double>(entry1.count - entry0.count) +
         static_cast<double>(exit1.time_ns - exit0.time_ns) /
             static_cast<double>(exit1.count - exit0.count);
}

}  // namespace

std::vector<Figure> measure_kvm(const char* minivm, int quads) {
  fprintf(stderr, "probe: kvm_entry and kvm_exit ...\n");
  const Guest guest(minivm);
  if (guest.vm_pid() == 0) return {};
  Programs programs({.edges = true, .blame_every = 8, .kvm = true});
  const Fd stats = enable_run_stats();
  if (!programs.slots().open(kVm, guest.vm_pid())) return {};
  (void)programs.slots().adopt(kVm, guest.vm_pid(), ThreadClass::kEmulator);
  programs.slots().set_edges(kVm, {.quota_left = std::chrono::milliseconds{10},
                                   .wait_in_window = std::chrono::seconds{1}});
  const bool amd = access("/sys/kernel/btf/kvm_amd", F_OK) == 0;
  const char* exit = amd ? "on_kvm_exit_amd" : "on_kvm_exit";
  std::vector<double> above;
  std::vector<double> empty;
  for (int i = 0; i < quads; ++i) {
    const double a1 =
        ns_per_exit(programs, "empty_kvm_entry", "empty_kvm_exit");
    const double b1 = ns_per_exit(programs, "on_kvm_entry", exit);
    const double b2 = ns_per_exit(programs, "on_kvm_entry", exit);
    const double a2 =
        ns_per_exit(programs, "empty_kvm_entry", "empty_kvm_exit");
    if (a1 < 0 || b1 < 0 || b2 < 0 || a2 < 0) return {};
    above.push_back((b1 + b2 - a1 - a2) / 2);
    empty.push_back((a1 + a2) / 2);
  }
  Figure figure = figure_of("kvm_entry_and_exit", "ns", above, 120);
  figure.yardstick = "two empty programs, " +
                     std::to_string(static_cast<int>(median(empty))) +
                     " ns together";
  return {figure};
}

}  // namespace outrider::bench
