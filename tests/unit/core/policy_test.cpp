// SPDX-License-Identifier: Apache-2.0
#include "agent/core/policy.h"

#include <gtest/gtest.h>

#include <chrono>
#include <random>
#include <string>

namespace outrider {
namespace {

using std::chrono::milliseconds;

constexpr const char* kUuid = "0f8fad5b-d9cb-469f-a165-70867728950e";

VmFacts vm_of(std::int64_t vcpus, MilliCpus baseline_cap = kNoCap) {
  return {.id = VmId{1},
          .name = "web-3",
          .uuid = kUuid,
          .vcpus = vcpus,
          .baseline_cap = baseline_cap};
}

// Production is 10 % to 150 % of the vCPUs, critical 20 % to 150 %.
Policy enforcing() {
  Policy policy;
  policy.mode = Mode::kEnforce;
  return policy;
}

VmPolicy resolve_with(VmRule rule, const VmFacts& vm) {
  Policy policy = enforcing();
  policy.vms.push_back(std::move(rule));
  return resolve(policy, vm);
}

TEST(LeastCap, IsOneMillisecondOfQuota) {
  EXPECT_EQ(least_cap(milliseconds{100}), MilliCpus{10});  // 1 of 100
  EXPECT_EQ(least_cap(milliseconds{10}), MilliCpus{100});
  EXPECT_EQ(least_cap(milliseconds{1}), MilliCpus{1000});
  EXPECT_EQ(least_cap(milliseconds{30}), MilliCpus{34});  // 33.3, up
  EXPECT_EQ(least_cap(milliseconds{1000}), MilliCpus{1});
}

TEST(Matches, TakesTextAsItIs) {
  EXPECT_TRUE(matches("web", "web"));
  EXPECT_FALSE(matches("web", "web-3"));
  EXPECT_FALSE(matches("web-3", "web"));
  EXPECT_FALSE(matches("web", "Web"));
  EXPECT_TRUE(matches("", ""));
  EXPECT_FALSE(matches("", "web"));
  EXPECT_TRUE(matches("a.c[0-9]", "a.c[0-9]"));
  EXPECT_FALSE(matches("a.c", "abc"));
}

TEST(Matches, TakesOneCharacterForAQuestionMark) {
  EXPECT_TRUE(matches("web-?", "web-3"));
  EXPECT_FALSE(matches("web-?", "web-"));
  EXPECT_FALSE(matches("web-?", "web-31"));
}

TEST(Matches, TakesAnyTextForAStar) {
  EXPECT_TRUE(matches("*", ""));
  EXPECT_TRUE(matches("**", "web"));
  EXPECT_TRUE(matches("web*", "web"));
  EXPECT_TRUE(matches("*-3", "web-3"));
  EXPECT_TRUE(matches("w*-*3", "web-1-23"));
  EXPECT_FALSE(matches("*-3", "web-31"));
  EXPECT_FALSE(matches("*?", ""));
}

TEST(Matches, TriesALaterPlaceForAStar) {
  EXPECT_TRUE(matches("*ab", "aab"));
  EXPECT_TRUE(matches("*ab*cd", "xabxcabcd"));
  EXPECT_FALSE(matches("*ab*cd", "xcdxab"));
}

TEST(Matches, EndsInPatternTimesTextSteps) {
  // A matcher that tries each star's every place again would not end here.
  std::string pattern;
  for (int i = 0; i < 100; ++i) pattern += "a*";
  EXPECT_FALSE(matches(pattern + "b", std::string(5'000, 'a')));
}

TEST(Resolve, GivesTheDefaultClassWhereNoRuleMatches) {
  const VmPolicy held =
      resolve_with({.match = "db*", .vm_class = VmClass::kBatch}, vm_of(4));
  EXPECT_EQ(held, (VmPolicy{.vm_class = VmClass::kProduction,
                            .mode = Mode::kEnforce,
                            .floor = MilliCpus{400},     // 10 % of 4
                            .ceiling = MilliCpus{6000},  // 150 % of 4
                            .weight = 400,
                            .quantile_permille = 950,  // 19 / 20
                            .idle = false}));
}

TEST(Resolve, TakesTheFirstRuleThatMatches) {
  Policy policy = enforcing();
  policy.vms = {{.match = "db*", .vm_class = VmClass::kCritical},
                {.match = "web-?", .vm_class = VmClass::kBatch},
                {.match = "*", .vm_class = VmClass::kDevelopment}};
  EXPECT_EQ(resolve(policy, vm_of(1)).vm_class, VmClass::kBatch);
}

TEST(Resolve, KnowsAVmByItsUuidInEitherCase) {
  VmRule rule{.match = "0F8FAD5B-D9CB-469F-A165-70867728950E",
              .vm_class = VmClass::kCritical};
  EXPECT_EQ(resolve_with(rule, vm_of(1)).vm_class, VmClass::kCritical);
  rule.match.pop_back();
  EXPECT_EQ(resolve_with(rule, vm_of(1)).vm_class, VmClass::kProduction);
}

TEST(Resolve, TakesNoUnknownUuidForAnEmptyMatch) {
  VmFacts vm = vm_of(1);
  vm.uuid.clear();
  EXPECT_EQ(
      resolve_with({.match = "", .vm_class = VmClass::kCritical}, vm).vm_class,
      VmClass::kProduction);
}

TEST(Resolve, TakesFromTheRuleWhatItNames) {
  const VmPolicy held = resolve_with({.match = "web-3",
                                      .vm_class = VmClass::kCritical,
                                      .floor = MilliCpus{700},
                                      .ceiling = MilliCpus{900},
                                      .weight = 33},
                                     vm_of(4));
  EXPECT_EQ(held.floor, MilliCpus{700});
  EXPECT_EQ(held.ceiling, MilliCpus{900});
  EXPECT_EQ(held.weight, 33);
}

TEST(Resolve, TakesFromTheRulesClassWhatItDoesNotName) {
  Policy policy = enforcing();
  policy.classes[0].idle = true;
  policy.vms = {{.match = "*", .vm_class = VmClass::kCritical}};
  const VmPolicy held = resolve(policy, vm_of(2));
  EXPECT_EQ(held.floor, MilliCpus{400});  // 20 % of 2
  EXPECT_EQ(held.ceiling, MilliCpus{3000});
  EXPECT_EQ(held.weight, 800);
  EXPECT_EQ(held.quantile_permille, 990);  // 99 / 100
  EXPECT_TRUE(held.idle);
}

TEST(Resolve, NeverGivesMoreThanTheOwnersCap) {
  // 1 vCPU: 100 to 1500 by class.
  EXPECT_EQ(resolve(enforcing(), vm_of(1, MilliCpus{600})).ceiling,
            MilliCpus{600});
  EXPECT_EQ(resolve(enforcing(), vm_of(1, MilliCpus{4000})).ceiling,
            MilliCpus{1500});
  const VmPolicy low = resolve(enforcing(), vm_of(1, MilliCpus{50}));
  EXPECT_EQ(low.ceiling, MilliCpus{50});
  EXPECT_EQ(low.floor, MilliCpus{50});
  // Not for a floor that a rule names, either.
  const VmPolicy named = resolve_with({.match = "*", .floor = MilliCpus{800}},
                                      vm_of(1, MilliCpus{600}));
  EXPECT_EQ(named.floor, MilliCpus{600});
  EXPECT_EQ(named.ceiling, MilliCpus{600});
}

TEST(Resolve, LetsARulesCeilingPassTheOwnersCap) {
  EXPECT_EQ(resolve_with({.match = "*", .ceiling = MilliCpus{900}},
                         vm_of(1, MilliCpus{600}))
                .ceiling,
            MilliCpus{900});
}

TEST(Resolve, LiftsTheClassesCeilingToARulesFloor) {
  const VmPolicy held =
      resolve_with({.match = "*", .floor = MilliCpus{1800}}, vm_of(1));
  EXPECT_EQ(held.floor, MilliCpus{1800});
  EXPECT_EQ(held.ceiling, MilliCpus{1800});
}

TEST(Resolve, LiftsBothToWhatTheKernelTakes) {
  Policy policy = enforcing();
  policy.cpu.cap_period = milliseconds{10};  // least: 100
  policy.vms = {{.match = "*", .floor = MilliCpus{0}, .ceiling = MilliCpus{7}}};
  EXPECT_EQ(resolve(policy, vm_of(1)).floor, MilliCpus{100});
  EXPECT_EQ(resolve(policy, vm_of(1)).ceiling, MilliCpus{100});
}

TEST(Resolve, TakesTheLeastOfTheThreeModes) {
  for (const Mode least : {Mode::kObserve, Mode::kAdvise}) {
    for (int where = 0; where < 3; ++where) {
      Policy policy = enforcing();
      VmRule rule{.match = "*"};
      (where == 0   ? policy.mode
       : where == 1 ? policy.cpu.mode
                    : rule.mode) = least;
      policy.vms = {rule};
      EXPECT_EQ(resolve(policy, vm_of(1)).mode, least) << "at " << where;
    }
  }
  EXPECT_EQ(resolve(enforcing(), vm_of(1)).mode, Mode::kEnforce);
}

TEST(Resolve, OnlyObservesWhatItCannotCap) {
  VmFacts vm = vm_of(2);
  vm.has_cap = false;
  EXPECT_EQ(resolve(enforcing(), vm).mode, Mode::kObserve);
  EXPECT_EQ(resolve(enforcing(), vm_of(0)).mode, Mode::kObserve);
}

TEST(Resolve, RoundsTheQuantileToTheNearest) {
  Policy policy = enforcing();
  ClassPolicy& production = policy.classes[1];
  production.price_stalled = 2;  // 666.7
  EXPECT_EQ(resolve(policy, vm_of(1)).quantile_permille, 667);
  production.price_reserved = 4;  // 333.3
  EXPECT_EQ(resolve(policy, vm_of(1)).quantile_permille, 333);
  production.price_stalled = 9996;  // 999.6: no forecast says that
  EXPECT_EQ(resolve(policy, vm_of(1)).quantile_permille, 990);
}

TEST(ResolveProperty, KeepsTheInvariantAndTheOwnersCap) {
  for (std::uint32_t seed = 0; seed < 2'000; ++seed) {
    std::mt19937 random(seed);
    const auto below = [&random](std::int64_t n) {
      return static_cast<std::int64_t>(random()) % n;
    };
    Policy policy = enforcing();
    policy.cpu.cap_period = milliseconds{1 + below(200)};
    for (ClassPolicy& one : policy.classes) {
      one.floor_permille = below(2000);
      one.ceiling_permille = below(2000);
    }
    policy.vms = {{.match = below(2) == 0 ? "web-*" : "db",
                   .vm_class = static_cast<VmClass>(below(4)),
                   .floor = MilliCpus{below(3000) - 1},
                   .ceiling = MilliCpus{below(2) == 0 ? -1 : below(3000)}}};
    const VmFacts vm = vm_of(below(9), MilliCpus{below(3000) - 1});
    const VmPolicy held = resolve(policy, vm);
    const MilliCpus least = least_cap(policy.cpu.cap_period);
    ASSERT_LE(least, held.floor) << "seed " << seed;
    ASSERT_LE(held.floor, held.ceiling) << "seed " << seed;
    const bool ceiling_named =
        policy.vms[0].match == "web-*" && policy.vms[0].ceiling.count() >= 0;
    if (!ceiling_named && vm.baseline_cap != kNoCap) {
      ASSERT_LE(held.ceiling, std::max(vm.baseline_cap, least))
          << "seed " << seed;
    }
  }
}

}  // namespace
}  // namespace outrider
