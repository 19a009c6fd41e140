// SPDX-License-Identifier: Apache-2.0
#include "agent/config_policy.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "tests/unit/shell/config_parse.h"

namespace outrider {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

ClassPolicy& class_of(Config& config, VmClass which) {
  return config.policy.classes[static_cast<std::size_t>(which)];
}

ClassPolicy& batch_of(Config& config) {
  return class_of(config, VmClass::kBatch);
}

VmRule& add_rule(Config& config) {
  config.policy.vms.push_back({.match = "web"});
  return config.policy.vms.back();
}

// Every key, with a value that is not its default.
const std::vector<KeyCase> kTopKeys = {
    {"profile: spec1",
     [](Config& c) {
       c.profile = Profile::kSpec1;
       c.tick_period = seconds{1};
       c.policy.shadow.prediction_horizon = seconds{5};
     }},
    {"mode: advise", [](Config& c) { c.policy.mode = Mode::kAdvise; }},
    {"mode: enforce", [](Config& c) { c.policy.mode = Mode::kEnforce; }},
    {"default_class: critical",
     [](Config& c) { c.policy.default_class = VmClass::kCritical; }},
    {"default_class: development",
     [](Config& c) { c.policy.default_class = VmClass::kDevelopment; }},
};

const std::vector<KeyCase> kCpuKeys = {
    {"cpu: {mode: observe}",
     [](Config& c) { c.policy.cpu.mode = Mode::kObserve; }},
    {"cpu: {split: equal}",
     [](Config& c) { c.policy.cpu.split = Split::kEqual; }},
    {"cpu: {cap_period_ms: 20}",
     [](Config& c) { c.policy.cpu.cap_period = milliseconds{20}; }},
    {"cpu: {burst_us: 0}",
     [](Config& c) { c.policy.cpu.burst = microseconds{0}; }},
    {"cpu: {host_share_mcpu: 250}",
     [](Config& c) { c.policy.cpu.host_share = MilliCpus{250}; }},
    {"cpu: {dead_band_percent: 3}",
     [](Config& c) { c.policy.cpu.dead_band_permille = 30; }},
    {"cpu: {dead_band_mcpu: 7}",
     [](Config& c) { c.policy.cpu.dead_band = MilliCpus{7}; }},
    {"cpu: {lower_after_ms: 1500}",
     [](Config& c) { c.policy.cpu.lower_after = milliseconds{1500}; }},
    {"cpu: {lower_step_percent: 25}",
     [](Config& c) { c.policy.cpu.lower_step_permille = 250; }},
    {"cpu: {writes_per_minute: 6}",
     [](Config& c) { c.policy.cpu.writes_per_minute = 6; }},
    {"cpu: {weights: false}", [](Config& c) { c.policy.cpu.weights = false; }},
};

const std::vector<KeyCase> kShadowKeys = {
    {"shadow: {PredictionHorizon: 10 seconds}",
     [](Config& c) { c.policy.shadow.prediction_horizon = seconds{10}; }},
    {"shadow: {reserve_horizon_ms: 700}",
     [](Config& c) { c.policy.shadow.reserve_horizon = milliseconds{700}; }},
    {"shadow: {PreAllocationThreshold: {cpu_mcpu: 8}}",
     [](Config& c) {
       c.policy.shadow.pre_allocation_threshold = MilliCpus{8};
     }},
    {"shadow: {ShadowVM_BaseResources: {cpu_mcpu: 9}}",
     [](Config& c) { c.policy.shadow.base = MilliCpus{9}; }},
    {"shadow: {ScalingPolicy: fixed}",
     [](Config& c) { c.policy.shadow.scaling = ScalingPolicy::kFixed; }},
    {"shadow: {ScalingPolicy: proportional}",
     [](Config& c) { c.policy.shadow.scaling = ScalingPolicy::kProportional; }},
    {"shadow: {ScalingPolicy: quantile}",
     [](Config& c) { c.policy.shadow.scaling = ScalingPolicy::kQuantile; }},
    {"shadow: {fixed_extra_mcpu: 11}",
     [](Config& c) { c.policy.shadow.fixed_extra = MilliCpus{11}; }},
    {"shadow: {factor_percent: 150}",
     [](Config& c) { c.policy.shadow.factor_permille = 1500; }},
    {"shadow: {quantile_percent: 80}",
     [](Config& c) { c.policy.shadow.quantile_permille = 800; }},
    {"shadow: {on_vm_exit: terminate}",
     [](Config& c) { c.policy.shadow.on_vm_exit = OnVmExit::kTerminate; }},
    {"shadow: {forecast: false}",
     [](Config& c) { c.policy.shadow.forecast = false; }},
};

const std::vector<KeyCase> kClassKeys = {
    {"classes: {critical: {weight: 1}}",
     [](Config& c) { class_of(c, VmClass::kCritical).weight = 1; }},
    {"classes: {production: {weight: 2}}",
     [](Config& c) { class_of(c, VmClass::kProduction).weight = 2; }},
    {"classes: {development: {weight: 3}}",
     [](Config& c) { class_of(c, VmClass::kDevelopment).weight = 3; }},
    {"classes: {batch: {weight: 4}}",
     [](Config& c) { batch_of(c).weight = 4; }},
    {"classes: {batch: {floor_percent: 33}}",
     [](Config& c) { batch_of(c).floor_permille = 330; }},
    {"classes: {batch: {ceiling_percent: 70}}",
     [](Config& c) { batch_of(c).ceiling_permille = 700; }},
    {"classes: {batch: {overcommit_percent: 110}}",
     [](Config& c) { batch_of(c).overcommit_permille = 1100; }},
    {"classes: {batch: {price_stalled: 5}}",
     [](Config& c) { batch_of(c).price_stalled = 5; }},
    {"classes: {batch: {price_reserved: 6}}",
     [](Config& c) { batch_of(c).price_reserved = 6; }},
    {"classes: {batch: {idle: true}}",
     [](Config& c) { batch_of(c).idle = true; }},
};

const std::vector<KeyCase> kRuleKeys = {
    {"vms: [{match: web}]", [](Config& c) { add_rule(c); }},
    {"vms: [{match: web, class: batch}]",
     [](Config& c) { add_rule(c).vm_class = VmClass::kBatch; }},
    {"vms: [{match: web, mode: advise}]",
     [](Config& c) { add_rule(c).mode = Mode::kAdvise; }},
    {"vms: [{match: web, floor_mcpu: 0}]",
     [](Config& c) { add_rule(c).floor = MilliCpus{0}; }},
    {"vms: [{match: web, ceiling_mcpu: 2000}]",
     [](Config& c) { add_rule(c).ceiling = MilliCpus{2000}; }},
    {"vms: [{match: web, weight: 77}]",
     [](Config& c) { add_rule(c).weight = 77; }},
    {"vms: [{match: web, memory_floor_mib: 512}]",
     [](Config& c) { add_rule(c).memory_floor = Bytes{512 << 20}; }},
    {"vms: [{match: web, balloon_enabled: false}]",
     [](Config& c) { add_rule(c).balloon = 0; }},
};

const std::vector<KeyCase> kMemoryKeys = {
    {"memory: {mode: enforce}",
     [](Config& c) { c.policy.memory.mode = Mode::kEnforce; }},
    {"memory: {period_ms: 50}",
     [](Config& c) { c.policy.memory.period = milliseconds{50}; }},
    {"memory: {horizon_s: 4}",
     [](Config& c) { c.policy.memory.horizon = seconds{4}; }},
    {"memory: {host_share_percent: 7}",
     [](Config& c) { c.policy.memory.host_share_permille = 70; }},
    {"memory: {take_mib_per_second: 64}",
     [](Config& c) { c.policy.memory.take_per_second = Bytes{64 << 20}; }},
    {"memory: {guest_spare_percent: 25}",
     [](Config& c) { c.policy.memory.guest_spare_permille = 250; }},
    {"memory: {confirm_s: 9}",
     [](Config& c) { c.policy.memory.confirm = seconds{9}; }},
    {"memory: {learn_s: 0}",
     [](Config& c) { c.policy.memory.learn = seconds{0}; }},
    {"memory: {give_after_s: 120}",
     [](Config& c) { c.policy.memory.give_after = seconds{120}; }},
    {"classes: {batch: {memory_floor_percent: 33}}",
     [](Config& c) { c.policy.memory.classes[3].floor_permille = 330; }},
    {"classes: {critical: {balloon_enabled: true}}",
     [](Config& c) { c.policy.memory.classes[0].balloon = true; }},
};

std::vector<KeyCase> every_key() {
  std::vector<KeyCase> all;
  for (const auto* some : {&kTopKeys, &kCpuKeys, &kShadowKeys, &kClassKeys,
                           &kRuleKeys, &kMemoryKeys})
    all.insert(all.end(), some->begin(), some->end());
  return all;
}

TEST(ParsePolicy, EveryKeyReachesItsFieldAndNoOther) {
  for (const KeyCase& key : every_key())
    expect_to_reach_its_field_and_no_other(key);
  expect_to_reach_its_field_and_no_other(
      {"shadow: {MonitoringInterval: 40 ms}",
       [](Config& c) { c.tick_period = milliseconds{40}; }});
}

TEST(ParsePolicy, RangesHoldAtBothEnds) {
  const std::vector<RangeCase> ranges = {
      {"cpu", "cap_period_ms", 10, 1000},
      {"cpu", "burst_us", 0, 1'000'000},
      {"cpu", "host_share_mcpu", 0, 10'000'000},
      {"cpu", "dead_band_percent", 0, 100},
      {"cpu", "dead_band_mcpu", 0, 10'000'000},
      {"cpu", "lower_after_ms", 0, 3'600'000},
      {"cpu", "lower_step_percent", 1, 100},
      {"cpu", "writes_per_minute", 1, 60'000},
      {"shadow", "reserve_horizon_ms", 100, 3'600'000},
      {"shadow.PreAllocationThreshold", "cpu_mcpu", 0, 10'000'000},
      {"shadow.ShadowVM_BaseResources", "cpu_mcpu", 0, 10'000'000},
      {"shadow", "fixed_extra_mcpu", 0, 10'000'000},
      {"shadow", "factor_percent", 10, 1000},
      {"shadow", "quantile_percent", 50, 99},
      {"classes.batch", "weight", 1, 10'000},
      {"classes.batch", "floor_percent", 0, 100},
      {"classes.batch", "overcommit_percent", 100, 10'000},
      {"classes.batch", "price_stalled", 1, 1'000'000},
      {"classes.batch", "price_reserved", 1, 1'000'000},
  };
  for (const RangeCase& range : ranges) expect_range(range);
  EXPECT_EQ(error_of("classes: {batch: {ceiling_percent: 1001}}"),
            "outrider.yaml:1: classes.batch.ceiling_percent: want 1..1000, "
            "got 1001");
}

TEST(ParsePolicy, TakesTimesWithTheirUnits) {
  const auto horizon = [](const std::string& text) {
    const auto config = parse("shadow: {PredictionHorizon: " + text + "}");
    return config ? config->policy.shadow.prediction_horizon : Duration{-1};
  };
  EXPECT_EQ(horizon("500 ms"), milliseconds{500});
  EXPECT_EQ(horizon("500ms"), milliseconds{500});
  EXPECT_EQ(horizon("\"250 milliseconds\""), milliseconds{250});
  EXPECT_EQ(horizon("1 s"), seconds{1});
  EXPECT_EQ(horizon("1 second"), seconds{1});
  EXPECT_EQ(horizon("10 seconds"), seconds{10});
  EXPECT_EQ(horizon("2 min"), minutes{2});
  EXPECT_EQ(horizon("2 minutes"), minutes{2});
  EXPECT_EQ(horizon("100 ms"), milliseconds{100});
  EXPECT_EQ(horizon("1 hour"), minutes{60});
  EXPECT_EQ(horizon("1 h"), minutes{60});
}

TEST(ParsePolicy, RefusesTimesWithoutUnitOrOutOfRange) {
  for (const std::string& bad :
       {std::string("5"), std::string("99 ms"), std::string("3601 s"),
        std::string("2 h"), std::string("-5 s"), std::string("0.5 s"),
        std::string("5 m"), std::string("5 s s"), std::string("s"),
        std::string("5 seco"), std::string("9223372036854775807 h"),
        std::string("99999999999999999999 ms")})
    EXPECT_EQ(error_of("shadow:\n  PredictionHorizon: " + bad),
              "outrider.yaml:2: shadow.PredictionHorizon: want a time of "
              "100 ms..1 h, got " +
                  bad);
  EXPECT_EQ(error_of("shadow: {PredictionHorizon: }"),
            "outrider.yaml:1: shadow.PredictionHorizon: want a time of "
            "100 ms..1 h, got nothing");
}

TEST(ParsePolicy, MonitoringIntervalIsTheTick) {
  EXPECT_TRUE(parse("shadow: {MonitoringInterval: 5 ms}"));
  EXPECT_TRUE(parse("shadow: {MonitoringInterval: 1 min}"));
  for (const char* bad : {"4 ms", "61 s"})
    EXPECT_EQ(
        error_of(std::string("shadow: {MonitoringInterval: ") + bad + "}"),
        std::string("outrider.yaml:1: shadow.MonitoringInterval: want a "
                    "time of 5 ms..1 min, got ") +
            bad);
  EXPECT_EQ(error_of("tick_period_ms: 20\nshadow: {MonitoringInterval: 20ms}"),
            "outrider.yaml:2: shadow.MonitoringInterval: want no "
            "tick_period_ms beside it, got 20ms");
}

TEST(ParsePolicy, KeysOfTheSameOrALaterFileOverrideTheProfile) {
  const auto same = parse("tick_period_ms: 50\nprofile: spec1");
  ASSERT_TRUE(same) << same.error().what;
  EXPECT_EQ(same->tick_period, milliseconds{50});
  EXPECT_EQ(same->policy.shadow.prediction_horizon, seconds{5});
  const auto later = parse("shadow: {PredictionHorizon: 2 s}", *same);
  ASSERT_TRUE(later);
  EXPECT_EQ(later->tick_period, milliseconds{50});
  EXPECT_EQ(later->policy.shadow.prediction_horizon, seconds{2});
  const auto back = parse("profile: fast", *later);
  ASSERT_TRUE(back);
  EXPECT_TRUE(*back == Config{}) << dump_config(*back);
}

TEST(ParsePolicy, RefusesFloorsAboveCeilings) {
  EXPECT_EQ(error_of("classes:\n  batch:\n    floor_percent: 60\n"
                     "    ceiling_percent: 50"),
            "outrider.yaml:3: classes.batch.floor_percent: want at most "
            "ceiling_percent (50), got 60");
  // Against the default of 20 %.
  EXPECT_EQ(error_of("classes:\n  critical:\n    ceiling_percent: 19"),
            "outrider.yaml:3: classes.critical.ceiling_percent: want at least "
            "floor_percent (20), got 19");
  EXPECT_EQ(error_of("vms:\n- match: a\n- match: b\n  floor_mcpu: 11\n"
                     "  ceiling_mcpu: 10"),
            "outrider.yaml:4: vms[1].floor_mcpu: want at most ceiling_mcpu "
            "(10), got 11");
  EXPECT_TRUE(parse("vms: [{match: b, floor_mcpu: 11, ceiling_mcpu: 11}]"));
}

TEST(ParsePolicy, RefusesOtherWords) {
  EXPECT_EQ(error_of("mode: on"),
            "outrider.yaml:1: mode: want one of observe, advise, enforce, got "
            "on");
  EXPECT_EQ(error_of("profile: slow"),
            "outrider.yaml:1: profile: want one of fast, spec1, got slow");
  EXPECT_EQ(error_of("classes: {gold: {weight: 1}}"),
            "outrider.yaml:1: classes.gold: unknown key");
  EXPECT_EQ(error_of("shadow: {HistoryRetentionPeriod: 1 h}"),
            "outrider.yaml:1: shadow.HistoryRetentionPeriod: unknown key");
  EXPECT_EQ(error_of("shadow: {PreAllocationThreshold: 50}"),
            "outrider.yaml:1: shadow.PreAllocationThreshold: want indented "
            "`key: value` lines, got 50");
}

TEST(ParsePolicy, NamesTheRuleThatIsWrong) {
  EXPECT_EQ(error_of("vms:\n  - match: a\n  - match: b\n  - match: c\n"
                     "    floor_mcpu: -1"),
            "outrider.yaml:5: vms[2].floor_mcpu: want 0..10000000, got -1");
  EXPECT_EQ(error_of("vms:\n  - match: a\n    flor_mcpu: 1"),
            "outrider.yaml:3: vms[0].flor_mcpu: unknown key; did you mean "
            "floor_mcpu?");
  EXPECT_EQ(error_of("vms:\n  - match: a\n  - weight: 1"),
            "outrider.yaml:3: vms[1].match: missing");
  EXPECT_EQ(error_of("vms:\n  - {}"), "outrider.yaml:2: vms[0].match: missing");
  EXPECT_EQ(error_of("vms:\n  - match:"),
            "outrider.yaml:2: vms[0].match: want a text, got nothing");
  EXPECT_EQ(error_of("vms:\n  - match: a\n    match: b"),
            "outrider.yaml:3: match: this key is given twice");
  EXPECT_EQ(error_of("vms:\n  - web"),
            "outrider.yaml:2: vms[0]: want indented `key: value` lines, got "
            "web");
  EXPECT_EQ(error_of("vms: {match: a}"),
            "outrider.yaml:1: vms: want a list of `- key: value` lines, got a "
            "mapping");
  EXPECT_NE(error_of("vms: [{match: " + std::string(256, 'x') + "}]")
                .find("vms[0].match: want at most 255 bytes, got xxx"),
            std::string::npos);
}

std::string rules(std::size_t count) {
  std::string text = "vms:\n";
  for (std::size_t i = 0; i < count; ++i) text += "- match: a\n";
  return text;
}

TEST(ParsePolicy, BoundsTheListOfRules) {
  const auto most = parse(rules(1024));
  ASSERT_TRUE(most) << most.error().what;
  EXPECT_EQ(most->policy.vms.size(), 1024U);
  EXPECT_EQ(error_of(rules(1025)),
            "outrider.yaml:2: vms: want at most 1024 entries, got 1025");
}

TEST(ParsePolicy, ALaterListReplacesTheEarlierOne) {
  const auto first = parse("vms: [{match: a}, {match: b}]");
  ASSERT_TRUE(first);
  const auto second = parse("vms: [{match: c}]", *first);
  ASSERT_TRUE(second);
  ASSERT_EQ(second->policy.vms.size(), 1U);
  EXPECT_EQ(second->policy.vms[0].match, "c");
  EXPECT_EQ(parse("mode: advise", *first)->policy.vms.size(), 2U);
  EXPECT_TRUE(parse("vms: []", *first)->policy.vms.empty());
}

TEST(ParsePolicy, ARuleWithoutAClassHasTheDefaultOne) {
  const auto config = parse("vms: [{match: a}]\ndefault_class: batch");
  ASSERT_TRUE(config);
  EXPECT_EQ(config->policy.vms[0].vm_class, VmClass::kBatch);
}

TEST(DumpPolicy, ParsesBackToTheSame) {
  for (const KeyCase& key : every_key()) {
    Config config;
    key.expect(config);
    expect_to_parse_back(config);
  }
}

// Many keys at once, in an order and with texts that nobody thought of.
TEST(DumpPolicy, ParsesBackWhateverKeysAreCombined) {
  const std::vector<KeyCase> keys = every_key();
  const std::vector<std::string> matches = {
      "*",  "?", "true", "null",    "~",   "5", "a: b", "- a",
      "#a", "'", "\"",   "a\nb",    " a ", "{", "[",    "&a",
      "!a", "|", "\\",   "\u00e4*", "-",   "%"};
  for (unsigned seed = 0; seed < 200; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random{seed};
    Config config;
    for (int i = 0; i < 12; ++i) keys[random() % keys.size()].expect(config);
    for (VmRule& rule : config.policy.vms)
      rule.match = matches[random() % matches.size()];
    expect_to_parse_back(config);
  }
}

TEST(DumpPolicy, NamesEveryKey) {
  Config config;
  for (const KeyCase& key : kRuleKeys) key.expect(config);
  const std::string dump = dump_config(config);
  for (const KeyCase& key : every_key()) {
    // The key before the last value: "a: {b: {c: 1}}" has c.
    const std::size_t colon = key.text.rfind(": ");
    const std::size_t start = key.text.find_last_of("{ ", colon) + 1;
    const std::string name = key.text.substr(start, colon - start);
    EXPECT_NE(dump.find(name + ":"), std::string::npos) << name;
  }
}

}  // namespace
}  // namespace outrider
