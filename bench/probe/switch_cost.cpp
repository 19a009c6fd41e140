// SPDX-License-Identifier: Apache-2.0
#include "bench/probe/switch_cost.h"

#include <unistd.h>

#include <cstdio>

#include "bench/probe/ping_pong.h"
#include "bench/probe/programs.h"

namespace outrider::bench {
namespace {

// The last CPU: on a hypervisor the first has most of the interrupts.
int cpu() { return static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN)) - 1; }

constexpr double kWindowSeconds = 0.06;
constexpr VmId kVm{1};
constexpr std::uint32_t kBlameEvery = 8;  // as the agent's own default

double ns_per_call(Programs& programs, PingPong& load, const char* name) {
  programs.attach(name);
  const bpf_program* program = programs.program(name);
  const RunStats before = run_stats(program);
  (void)load.run(kWindowSeconds);  // its own pace is another figure
  const RunStats after = run_stats(program);
  programs.detach_all();
  return static_cast<double>(after.time_ns - before.time_ns) /
         static_cast<double>(after.count - before.count);
}

// The difference of B to A, one value for each A-B-B-A.
std::vector<double> above_empty(Programs& programs, PingPong& load, int quads) {
  std::vector<double> differences;
  for (int i = 0; i < quads; ++i) {
    const double a1 = ns_per_call(programs, load, "empty_switch");
    const double b1 = ns_per_call(programs, load, "on_switch");
    const double b2 = ns_per_call(programs, load, "on_switch");
    const double a2 = ns_per_call(programs, load, "empty_switch");
    differences.push_back((b1 + b2 - a1 - a2) / 2);
  }
  return differences;
}

enum class Involved { kNone, kEmulator, kVcpus };

void make_vm(Programs& programs, const PingPong& load, Involved involved) {
  Slots& slots = programs.slots();
  if (involved == Involved::kNone) return;
  if (!slots.open(kVm, load.own_tid())) return;
  (void)slots.adopt(kVm, load.own_tid(), ThreadClass::kEmulator);
  (void)slots.adopt(kVm, load.peer_tid(), ThreadClass::kEmulator);
  if (involved == Involved::kVcpus) {
    // What the first kvm_entry does to a thread.
    slots.pretend_vcpu(load.own_tid());
    slots.pretend_vcpu(load.peer_tid());
  }
  slots.set_edges(kVm, {.quota_left = std::chrono::milliseconds{10},
                        .wait_in_window = std::chrono::seconds{1}});
}

struct Case {
  const char* name;
  Involved involved;
  bool extras;  // blame and edges
  double limit_ns;
};

Figure measure_case(const Case& wanted, int quads) {
  Programs programs(
      {.edges = wanted.extras, .blame_every = wanted.extras ? kBlameEvery : 0});
  const Fd stats = enable_run_stats();
  PingPong load(cpu());
  make_vm(programs, load, wanted.involved);
  Figure figure = figure_of(
      wanted.name, "ns", above_empty(programs, load, quads), wanted.limit_ns);
  figure.yardstick = "an empty program on sched_switch, " +
                     std::to_string(programs.jited_bytes("on_switch")) +
                     " bytes against " +
                     std::to_string(programs.jited_bytes("empty_switch"));
  return figure;
}

// A round trip with what `attach` attaches.
template <class Attach>
double round_trip_ns(Programs& programs, PingPong& load, Attach attach) {
  attach();
  const double ns = load.run(kWindowSeconds);
  programs.detach_all();
  return ns;
}

// The tracepoints themselves cost what they cost on this machine, whatever is
// attached to them: so against programs that do nothing, and against nothing.
std::vector<Figure> measure_ping_pong(int quads) {
  Programs programs({.edges = true, .blame_every = kBlameEvery});
  PingPong load(cpu());
  make_vm(programs, load, Involved::kVcpus);
  const auto eyes = [&] { programs.attach_all(); };
  const auto empty = [&] {
    programs.attach("empty_switch");
    programs.attach("empty_wakeup");
  };
  std::vector<double> over_empty;
  std::vector<double> over_bare;
  std::vector<double> bare;
  for (int i = 0; i < quads; ++i) {
    const double bare1 = load.run(kWindowSeconds);
    const double a1 = round_trip_ns(programs, load, empty);
    const double b1 = round_trip_ns(programs, load, eyes);
    const double b2 = round_trip_ns(programs, load, eyes);
    const double a2 = round_trip_ns(programs, load, empty);
    const double bare2 = load.run(kWindowSeconds);
    over_empty.push_back((b1 + b2) / (a1 + a2));
    over_bare.push_back((b1 + b2) / (bare1 + bare2));
    bare.push_back((bare1 + bare2) / 2);
  }
  Figure against_empty =
      figure_of("ping_pong_over_empty", "x", over_empty, 1.03);
  against_empty.yardstick = "empty programs on sched_switch and sched_wakeup";
  Figure against_bare = figure_of("ping_pong_over_bare", "x", over_bare, 0);
  against_bare.yardstick = "a bare round trip of " +
                           std::to_string(static_cast<int>(median(bare))) +
                           " ns, no tracepoint on";
  return {against_empty, against_bare};
}

}  // namespace

std::vector<Figure> measure_switch(int quads) {
  const std::vector<Case> cases = {
      {"switch_no_vm_thread", Involved::kNone, true, 6},
      {"switch_vm_thread_emulator", Involved::kEmulator, false, 20},
      {"switch_vm_thread_vcpus", Involved::kVcpus, false, 20},
      {"switch_vm_thread_all_on", Involved::kVcpus, true, 40},
  };
  std::vector<Figure> figures;
  for (const Case& wanted : cases) {
    fprintf(stderr, "probe: %s ...\n", wanted.name);
    figures.push_back(measure_case(wanted, quads));
  }
  fprintf(stderr, "probe: ping-pong ...\n");
  for (Figure& figure : measure_ping_pong(quads)) {
    figures.push_back(std::move(figure));
  }
  return figures;
}

}  // namespace outrider::bench
