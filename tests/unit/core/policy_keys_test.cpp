// SPDX-License-Identifier: Apache-2.0
// One test for each key of the configuration that says how CPU is given out:
// two values of it lead to two outcomes, so that a key which the Controller
// ignores fails here. That a key reaches its field is config_policy_test.cpp's.
// tests/host/keys.py sees to it that no key is without such a test.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <vector>

#include "agent/core/controller.h"
#include "agent/core/peak_forecaster.h"
#include "tests/unit/core/controller_bench.h"

namespace outrider {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::array<VmClass, kVmClasses> kClasses = {
    VmClass::kCritical, VmClass::kProduction, VmClass::kDevelopment,
    VmClass::kBatch};

// Longer than a controller learns before it cuts.
constexpr Duration kSettled = seconds{8};

/// Foretells the most of the last `horizon` steps.
class LastPeak : public Forecaster {
 public:
  explicit LastPeak(std::uint32_t horizon) : last_(horizon) {}
  void observe(Observation now) override {
    last_[next_] = now.value;
    next_ = (next_ + 1) % last_.size();
    tells_.peak.fill(*std::max_element(last_.begin(), last_.end()));
  }
  const Forecast& forecast() const override { return tells_; }
  bool ponder(SeasonSearch&, LikelyPeriod) override { return true; }
  std::size_t state_bytes() const override { return 0; }
  void save(std::span<std::byte>) const override {}
  bool load(std::span<const std::byte>) override { return true; }

 private:
  std::vector<MilliCpus> last_;
  std::size_t next_ = 0;
  Forecast tells_;
};

std::unique_ptr<Forecaster> last_peak(std::uint32_t horizon) {
  return std::make_unique<LastPeak>(horizon);
}

/// Without anything that is not asked for: no dead-band, no share of the
/// host's.
Policy plain() {
  Policy policy = enforcing();
  policy.cpu.dead_band = MilliCpus{};
  policy.cpu.dead_band_permille = 0;
  policy.cpu.host_share = MilliCpus{};
  return policy;
}

ClassPolicy& production(Policy& policy) {
  return policy.classes[static_cast<std::size_t>(VmClass::kProduction)];
}

/// Of mcpu, at 50, 80, 95 and 99 percent.
Forecast steps() {
  Forecast forecast;
  forecast.peak = {MilliCpus{100}, MilliCpus{200}, MilliCpus{400},
                   MilliCpus{500}};
  return forecast;
}

/// The cap of an idle VM for which `steps` is foretold.
std::int64_t cap_foretold(const Policy& policy) {
  Bench bench(policy);
  bench.foretold = steps();
  bench.add(1, "a");
  bench.run(kSettled);
  return bench.cap(1);
}

/// The cap to which a VM that was idle is raised.
std::int64_t cap_raised(const Policy& policy) {
  Bench bench(policy);
  bench.add(1, "a", 2);
  bench.run(kSettled);
  bench.demand(1, 1000);
  bench.run(milliseconds{100});
  return bench.cap(1);
}

/// What is set of that knob in a VM's first ticks; nothing: it is not set.
std::optional<std::int64_t> first_set(const Policy& policy, Knob knob) {
  Bench bench(policy);
  bench.add(1, "a", 2);
  for (const Action& action : bench.run(milliseconds{100})) {
    if (action.knob == knob) return action.value;
  }
  return std::nullopt;
}

/// For one VM of that class alone.
VmRule rule_of(VmClass vm_class) {
  return {.match = "a", .vm_class = vm_class};
}

TEST(PolicyKeys, Mode) {
  Policy policy = plain();
  EXPECT_TRUE(first_set(policy, Knob::kCpuMax));
  policy.mode = Mode::kObserve;
  EXPECT_FALSE(first_set(policy, Knob::kCpuMax));
}

TEST(PolicyKeys, CpuMode) {
  Policy policy = plain();
  EXPECT_TRUE(first_set(policy, Knob::kCpuMax));
  policy.cpu.mode = Mode::kObserve;
  EXPECT_FALSE(first_set(policy, Knob::kCpuMax));
}

TEST(PolicyKeys, CpuSplit) {
  Policy policy = plain();
  EXPECT_FALSE(first_set(policy, Knob::kVcpuMax));
  policy.cpu.split = Split::kEqual;
  EXPECT_TRUE(first_set(policy, Knob::kVcpuMax));
}

TEST(PolicyKeys, CpuCapPeriod) {
  // The least that the kernel takes is 1 ms of the period.
  Policy policy = plain();
  production(policy).floor_permille = 0;
  const auto idle_cap = [&policy](Duration period) {
    policy.cpu.cap_period = period;
    Bench bench(policy);
    bench.add(1, "a");
    bench.run(kSettled);
    return bench.cap(1);
  };
  EXPECT_EQ(idle_cap(milliseconds{100}), 10);
  EXPECT_EQ(idle_cap(milliseconds{10}), 100);
}

TEST(PolicyKeys, CpuBurst) {
  Policy policy = plain();
  EXPECT_EQ(first_set(policy, Knob::kCpuMaxBurst), 10000);
  policy.cpu.burst = milliseconds{1};
  EXPECT_EQ(first_set(policy, Knob::kCpuMaxBurst), 1000);
}

TEST(PolicyKeys, CpuCapQuantile) {
  Policy policy = plain();
  EXPECT_EQ(cap_foretold(policy), 200);
  policy.cpu.cap_quantile_permille = 900;  // not tracked: the next above
  EXPECT_EQ(cap_foretold(policy), 400);
}

TEST(PolicyKeys, CpuHostShare) {
  Policy policy = plain();
  const auto busy_cap = [&policy](std::int64_t share) {
    policy.cpu.host_share = MilliCpus{share};
    Bench bench(policy);
    bench.add(1, "a", 4);
    bench.demand(1, 4000);
    bench.run(kSettled);
    return bench.cap(1);
  };
  EXPECT_EQ(busy_cap(0), 4000);
  EXPECT_EQ(busy_cap(700), 3300);
}

TEST(PolicyKeys, CpuDeadBandPercent) {
  Policy policy = plain();
  EXPECT_EQ(cap_raised(policy), 1000);
  policy.cpu.dead_band_permille = 200;
  EXPECT_EQ(cap_raised(policy), 1200);
}

TEST(PolicyKeys, CpuDeadBandMcpu) {
  Policy policy = plain();
  EXPECT_EQ(cap_raised(policy), 1000);
  policy.cpu.dead_band = MilliCpus{300};
  EXPECT_EQ(cap_raised(policy), 1300);
}

/// The first lowering of a VM that was busy for a second; nothing: there is
/// none within `span` after that.
std::optional<Action> first_lowering(const Policy& policy, Duration span) {
  Bench bench(policy);
  bench.add(1, "a", 2);
  bench.run(kSettled);
  bench.demand(1, 1000);
  bench.run(seconds{1});
  bench.demand(1, 0);
  for (const Action& action : bench.run(span)) {
    if (action.reason == Reason::kLower) return action;
  }
  return std::nullopt;
}

TEST(PolicyKeys, CpuLowerAfter) {
  Policy policy = plain();
  EXPECT_TRUE(first_lowering(policy, seconds{1}));
  policy.cpu.lower_after = seconds{2};
  EXPECT_FALSE(first_lowering(policy, seconds{1}));
  EXPECT_TRUE(first_lowering(policy, seconds{4}));
}

TEST(PolicyKeys, CpuLowerStep) {
  Policy policy = plain();
  const auto whole = first_lowering(policy, seconds{1});
  ASSERT_TRUE(whole);
  EXPECT_LE(whole->value, 200);
  policy.cpu.lower_step_permille = 300;
  const auto part = first_lowering(policy, seconds{1});
  ASSERT_TRUE(part);
  EXPECT_EQ(part->value, part->old - part->old * 3 / 10);
}

TEST(PolicyKeys, CpuWritesPerMinute) {
  Policy policy = plain();
  const auto writes = [&policy](std::int64_t per_minute) {
    policy.cpu.writes_per_minute = per_minute;
    Bench bench(policy);
    bench.add(1, "a");
    bench.run(kSettled);
    const auto before = bench.state(1).stats.writes;
    for (int i = 0; i < 60; ++i) {  // a burst a second
      bench.demand(1, 1000);
      bench.run(milliseconds{100});
      bench.demand(1, 0);
      bench.run(milliseconds{900});
    }
    return bench.state(1).stats.writes - before;
  };
  // Two writes a burst, or what was saved up and ten more.
  EXPECT_GE(writes(600), 110U);
  EXPECT_LE(writes(10), 30U);
}

TEST(PolicyKeys, CpuWeights) {
  Policy policy = plain();
  EXPECT_FALSE(first_set(policy, Knob::kCpuWeight));
  policy.cpu.weights = true;
  EXPECT_EQ(first_set(policy, Knob::kCpuWeight), 400);
}

/// A VM that was busy for a second, two seconds later.
VmState after_work(const Policy& policy) {
  Bench bench(policy, last_peak);
  bench.add(1, "a", 2);
  bench.run(seconds{15});
  bench.demand(1, 1000);
  bench.run(seconds{1});
  bench.demand(1, 0);
  bench.run(seconds{2});
  return bench.state(1);
}

TEST(PolicyKeys, ShadowPredictionHorizon) {
  // Lowering waits until the near future needs it no more.
  Policy policy = plain();
  EXPECT_LT(after_work(policy).applied, MilliCpus{400});
  policy.shadow.prediction_horizon = seconds{5};
  EXPECT_GE(after_work(policy).applied, MilliCpus{1000});
}

TEST(PolicyKeys, ShadowReserveHorizon) {
  Policy policy = plain();
  EXPECT_GE(after_work(policy).reserve, MilliCpus{800});
  policy.shadow.reserve_horizon = seconds{1};
  EXPECT_EQ(after_work(policy).reserve, MilliCpus{});
}

TEST(PolicyKeys, ShadowReserveHorizonIsLearnedFirst) {
  Policy policy = plain();
  policy.shadow.reserve_horizon = seconds{20};
  EXPECT_GT(cap_foretold(policy), 200);
}

/// The reserve of an idle VM for which `steps` is foretold.
std::int64_t reserve_foretold(const Policy& policy) {
  Bench bench(policy);
  bench.foretold = steps();
  bench.add(1, "a");
  bench.run(kSettled);
  return bench.state(1).reserve.count();
}

TEST(PolicyKeys, ShadowPreAllocationThreshold) {
  // 400 at 95 percent, of which the cap holds the 200 at 80.
  Policy policy = plain();
  EXPECT_EQ(reserve_foretold(policy), 200);
  policy.shadow.pre_allocation_threshold = MilliCpus{201};
  EXPECT_EQ(reserve_foretold(policy), 0);
}

TEST(PolicyKeys, ShadowBaseResources) {
  Policy policy = plain();
  policy.shadow.base = MilliCpus{700};
  EXPECT_EQ(reserve_foretold(policy), 700);
}

TEST(PolicyKeys, ShadowScalingPolicy) {
  Policy policy = plain();
  policy.cpu.cap_quantile_permille = 990;
  const auto cap_with = [&policy](ScalingPolicy scaling) {
    policy.shadow.scaling = scaling;
    return cap_foretold(policy);
  };
  policy.shadow.fixed_extra = MilliCpus{250};
  policy.shadow.factor_permille = 1500;
  policy.shadow.quantile_permille = 990;
  EXPECT_EQ(cap_with(ScalingPolicy::kFixed), 250);         // 0 + 250
  EXPECT_EQ(cap_with(ScalingPolicy::kProportional), 150);  // 100 * 1.5
  EXPECT_EQ(cap_with(ScalingPolicy::kQuantile), 500);      // at 99 percent
  EXPECT_EQ(cap_with(ScalingPolicy::kCost), 400);          // 19 : 1, 95
}

TEST(PolicyKeys, ShadowFixedExtra) {
  Policy policy = plain();
  policy.shadow.scaling = ScalingPolicy::kFixed;
  EXPECT_EQ(cap_foretold(policy), 200);
  policy.shadow.fixed_extra = MilliCpus{333};
  EXPECT_EQ(cap_foretold(policy), 333);
}

TEST(PolicyKeys, ShadowFactor) {
  Policy policy = plain();
  policy.shadow.scaling = ScalingPolicy::kProportional;
  EXPECT_EQ(cap_foretold(policy), 120);
  policy.shadow.factor_permille = 3000;
  EXPECT_EQ(cap_foretold(policy), 300);
}

TEST(PolicyKeys, ShadowQuantile) {
  Policy policy = plain();
  policy.shadow.scaling = ScalingPolicy::kQuantile;
  policy.cpu.cap_quantile_permille = 990;
  EXPECT_EQ(cap_foretold(policy), 400);
  policy.shadow.quantile_permille = 800;
  EXPECT_EQ(cap_foretold(policy), 200);
}

TEST(PolicyKeys, ShadowOnVmExit) {
  Policy policy = plain();
  const auto scored_when_back = [&policy](OnVmExit on_exit) {
    policy.shadow.on_vm_exit = on_exit;
    Bench bench(policy, make_forecaster);
    bench.add(1, "a", 1, kNoCap, "uuid-1");
    bench.run(kSettled);
    bench.controller().remove_vm(VmId{1});
    bench.add(2, "a", 1, kNoCap, "uuid-1");
    return bench.state(2).soon.scored;
  };
  EXPECT_GT(scored_when_back(OnVmExit::kSuspend), 0U);
  EXPECT_EQ(scored_when_back(OnVmExit::kTerminate), 0U);
}

TEST(PolicyKeys, ShadowForecast) {
  Policy policy = plain();
  EXPECT_EQ(cap_foretold(policy), 200);
  policy.shadow.forecast = false;
  EXPECT_EQ(cap_foretold(policy), 100);  // the floor: nothing is demanded
}

TEST(PolicyKeys, ClassWeight) {
  for (const VmClass vm_class : kClasses) {
    Policy policy = plain();
    policy.default_class = vm_class;
    policy.vms = {{.match = "b", .vm_class = vm_class, .weight = 100}};
    ClassPolicy& its = policy.classes[static_cast<std::size_t>(vm_class)];
    its.floor_permille = 0;
    const auto cap_of_a = [&](std::int64_t weight) {
      its.weight = weight;
      Bench bench(policy, 1);
      for (const std::uint32_t id : {1U, 2U}) {
        bench.add(id, id == 1 ? "a" : "b");
        bench.demand(id, 1000);
      }
      bench.run(kSettled);
      return bench.cap(1);
    };
    // Of 1000, less a floor of 10 for each.
    EXPECT_NEAR(static_cast<double>(cap_of_a(100)), 500, 1);
    EXPECT_NEAR(static_cast<double>(cap_of_a(300)), 745, 1);
  }
}

/// An idle VM of that class, with `set` done to the class.
template <class Set>
VmState idle_of_class(VmClass vm_class, Set set) {
  Policy policy = plain();
  policy.cpu.cap_quantile_permille = 990;
  policy.vms = {rule_of(vm_class)};
  set(policy.classes[static_cast<std::size_t>(vm_class)]);
  Bench bench(policy);
  bench.foretold = steps();
  bench.add(1, "a");
  bench.run(kSettled);
  return bench.state(1);
}

TEST(PolicyKeys, ClassFloor) {
  for (const VmClass vm_class : kClasses) {
    for (const std::int64_t floor : {700, 900}) {
      const auto state = idle_of_class(
          vm_class, [&](ClassPolicy& its) { its.floor_permille = floor; });
      EXPECT_EQ(state.applied, MilliCpus{floor});
    }
  }
}

TEST(PolicyKeys, ClassCeiling) {
  for (const VmClass vm_class : kClasses) {
    for (const std::int64_t ceiling : {30, 70}) {
      const auto state = idle_of_class(vm_class, [&](ClassPolicy& its) {
        its.floor_permille = 0;
        its.ceiling_permille = ceiling;
      });
      EXPECT_EQ(state.applied, MilliCpus{ceiling});
    }
  }
}

TEST(PolicyKeys, ClassOvercommit) {
  const std::vector<VmFacts> vms = {{.id = VmId{1}, .name = "a", .vcpus = 2},
                                    {.id = VmId{2}, .name = "b", .vcpus = 2}};
  for (const VmClass vm_class : kClasses) {
    Policy policy = plain();
    policy.default_class = vm_class;
    ClassPolicy& its = policy.classes[static_cast<std::size_t>(vm_class)];
    its.floor_permille = 1000;  // 4000 of 2000
    its.overcommit_permille = 1900;
    EXPECT_FALSE(Controller::check(policy, {.cpus = 2}, vms));
    its.overcommit_permille = 2000;
    EXPECT_TRUE(Controller::check(policy, {.cpus = 2}, vms));
  }
}

TEST(PolicyKeys, ClassPriceStalled) {
  for (const VmClass vm_class : kClasses) {
    const auto cap_at = [&](std::int64_t stalled) {
      const auto state = idle_of_class(vm_class, [&](ClassPolicy& its) {
        its.floor_permille = 0;
        its.price_stalled = stalled;
        its.price_reserved = 1;
      });
      return state.applied.count();
    };
    EXPECT_EQ(cap_at(1), 100);  // 1 : 1, at 50 percent
    EXPECT_EQ(cap_at(4), 200);  // 4 : 1, at 80
  }
}

TEST(PolicyKeys, ClassPriceReserved) {
  for (const VmClass vm_class : kClasses) {
    const auto cap_at = [&](std::int64_t reserved) {
      const auto state = idle_of_class(vm_class, [&](ClassPolicy& its) {
        its.floor_permille = 0;
        its.price_stalled = 76;
        its.price_reserved = reserved;
      });
      return state.applied.count();
    };
    EXPECT_EQ(cap_at(4), 400);   // 76 : 4, at 95 percent
    EXPECT_EQ(cap_at(19), 200);  // 76 : 19, at 80
  }
}

TEST(PolicyKeys, ClassIdle) {
  for (const VmClass vm_class : kClasses) {
    Policy policy = plain();
    policy.cpu.weights = true;
    policy.vms = {rule_of(vm_class)};
    EXPECT_FALSE(first_set(policy, Knob::kCpuIdle));
    policy.classes[static_cast<std::size_t>(vm_class)].idle = true;
    EXPECT_EQ(first_set(policy, Knob::kCpuIdle), 1);
  }
}

TEST(PolicyKeys, DefaultClass) {
  for (const VmClass vm_class : kClasses) {
    Policy policy = plain();
    policy.default_class = vm_class;
    Bench bench(policy);
    bench.add(1, "a");
    EXPECT_EQ(bench.state(1).policy.vm_class, vm_class);
  }
}

/// The cap of the idle VM "a" under this rule.
std::int64_t cap_under(VmRule rule) {
  Policy policy = plain();
  policy.vms = {std::move(rule)};
  return cap_foretold(policy);
}

TEST(PolicyKeys, VmMatch) {
  EXPECT_EQ(cap_under({.match = "a", .floor = MilliCpus{700}}), 700);
  EXPECT_EQ(cap_under({.match = "b", .floor = MilliCpus{700}}), 200);
}

TEST(PolicyKeys, VmClass) {
  // Batch holds the median: one to one.
  EXPECT_EQ(cap_under(rule_of(VmClass::kProduction)), 200);
  EXPECT_EQ(cap_under(rule_of(VmClass::kBatch)), 100);
}

TEST(PolicyKeys, VmMode) {
  EXPECT_EQ(cap_under({.match = "a", .mode = Mode::kEnforce}), 200);
  EXPECT_EQ(cap_under({.match = "a", .mode = Mode::kObserve}), kNoCap.count());
}

TEST(PolicyKeys, VmFloor) {
  EXPECT_EQ(cap_under({.match = "a", .floor = MilliCpus{300}}), 300);
  EXPECT_EQ(cap_under({.match = "a", .floor = MilliCpus{800}}), 800);
}

TEST(PolicyKeys, VmCeiling) {
  EXPECT_EQ(cap_under({.match = "a", .ceiling = MilliCpus{150}}), 150);
  EXPECT_EQ(cap_under({.match = "a", .ceiling = MilliCpus{180}}), 180);
}

TEST(PolicyKeys, VmWeight) {
  Policy policy = plain();
  policy.cpu.weights = true;
  for (const std::int64_t weight : {7, 777}) {
    policy.vms = {{.match = "a", .weight = weight}};
    EXPECT_EQ(first_set(policy, Knob::kCpuWeight), weight);
  }
}

}  // namespace
}  // namespace outrider
