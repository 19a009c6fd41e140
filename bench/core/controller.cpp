// SPDX-License-Identifier: Apache-2.0
// One tick of the core: from a Sample to a Plan, for 10 to 10,000 VMs. Sense
// is the reading of counters into the Sample, here a stand-in that writes as
// many figures; demand, forecast, arbitration and diff are the real ones.
#include "agent/core/controller.h"

#include <benchmark/benchmark.h>

#include <cstdint>
#include <vector>

#include "agent/core/demand.h"
#include "agent/core/peak_forecaster.h"
#include "agent/core/sample.h"
#include "tests/unit/core/allocations.h"

namespace outrider {
namespace {

constexpr Duration kTick = std::chrono::milliseconds{20};
constexpr std::uint32_t kThreadsPerVm = 2;

/// VMs of one vCPU and one emulator thread; bursts of a third of a period that
/// is another for each.
class Host {
 public:
  explicit Host(std::uint32_t vms) {
    for (std::uint32_t i = 0; i < vms; ++i) {
      sample_.vms.push_back({.id = VmId{i + 1},
                             .first_thread = i * kThreadsPerVm,
                             .thread_count = kThreadsPerVm,
                             .first_vcpu = i,
                             .vcpu_count = 1});
      ThreadSample vcpu;
      vcpu.id = ThreadId{2 * i + 1};
      vcpu.vm = VmId{i + 1};
      vcpu.thread_class = ThreadClass::kVcpu;
      vcpu.state = ThreadState::kSleeping;
      ThreadSample emulator = vcpu;
      emulator.id = ThreadId{2 * i + 2};
      emulator.thread_class = ThreadClass::kEmulator;
      sample_.threads.push_back(vcpu);
      sample_.threads.push_back(emulator);
      sample_.vcpus.emplace_back();
    }
  }
  const Sample& read() {
    sample_.taken += kTick;
    ++ticks_;
    for (std::size_t i = 0; i < sample_.vms.size(); ++i) {
      const std::size_t period = 30 + i % 97;
      const bool is_busy = ticks_ % period < period / 3;
      sample_.threads[2 * i].run_ns += is_busy ? 19'000'000 : 300'000;
      sample_.threads[2 * i + 1].run_ns += is_busy ? 900'000 : 10'000;
    }
    return sample_;
  }

 private:
  Sample sample_;
  std::uint64_t ticks_ = 0;
};

/// The agent's tick, with hands that do what they are told.
class Loop {
 public:
  explicit Loop(std::uint32_t vms)
      : host_(vms),
        controller_(
            policy(), {.cpus = vms / 2 + 1}, kTick,
            [](std::uint32_t steps) { return make_forecaster(steps); }) {
    for (std::uint32_t i = 0; i < vms; ++i) {
      VmFacts facts;
      facts.id = VmId{i + 1};
      (void)controller_.add_vm(facts);  // floors fit
    }
    inputs_.resize(vms);
    outcomes_.reserve(std::size_t{vms} * 5);
  }

  std::size_t tick() {
    const Sample& now = host_.read();
    const Demand& demand = series_.update(now);
    if (demand.vms.size() != inputs_.size()) return 0;  // the first
    for (std::size_t i = 0; i < inputs_.size(); ++i) {
      CpuInput& input = inputs_[i];
      const VmDemand& vm = demand.vms[i];
      input.vm = vm.id;
      for (std::size_t c = 0; c < kThreadClasses; ++c) {
        input.demand[c] =
            static_cast<std::int32_t>(vm.by_class[c].demand.count());
      }
      input.usage = static_cast<std::int32_t>(vm.total.usage.count());
      input.upper_bound = vm.upper_bound;
    }
    const auto plan = controller_.tick(
        {.now = now.taken, .interval = demand.interval, .vms = inputs_});
    outcomes_.resize(plan.size());
    for (std::size_t i = 0; i < plan.size(); ++i) {
      outcomes_[i] = {Outcome::Kind::kApplied, 0, plan[i].value};
    }
    controller_.settle(plan, outcomes_);
    return plan.size();
  }

 private:
  static Policy policy() {
    Policy policy;
    policy.mode = Mode::kEnforce;
    policy.cpu.weights = false;
    return policy;
  }

  Host host_;
  DemandSeries series_;
  Controller controller_;
  std::vector<CpuInput> inputs_;
  std::vector<Outcome> outcomes_;
};

void core_tick(benchmark::State& state) {
  const auto vms = static_cast<std::uint32_t>(state.range(0));
  Loop loop(vms);
  for (int i = 0; i < 400; ++i) loop.tick();  // past the learning
  const std::size_t before = allocations();
  std::size_t writes = 0;
  for (auto _ : state) writes += loop.tick();
  if (allocations() != before) state.SkipWithError("a tick allocated");
  const auto ticks = static_cast<double>(state.iterations());
  state.counters["ns_per_vm"] =
      benchmark::Counter(ticks * vms * 1e-9, benchmark::Counter::kIsRate |
                                                 benchmark::Counter::kInvert);
  state.counters["writes_per_vm_s"] =
      static_cast<double>(writes) / (ticks * vms * 0.02);
  state.SetComplexityN(vms);
}
BENCHMARK(core_tick)->Arg(10)->Arg(100)->Arg(1000)->Arg(10000)->Complexity();

}  // namespace
}  // namespace outrider
