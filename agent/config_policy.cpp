// SPDX-License-Identifier: Apache-2.0
#include "agent/config_policy.h"

#include <fmt/format.h>

#include <string>

#include "agent/core/memory_policy.h"

namespace outrider {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

// In the order of their enumerators.
constexpr std::array<std::string_view, 2> kProfileNames = {"fast", "spec1"};
constexpr std::array<std::string_view, 2> kSplitNames = {"pooled", "equal"};
constexpr std::array<std::string_view, 4> kScalingNames = {
    "fixed", "proportional", "quantile", "cost"};
constexpr std::array<std::string_view, 2> kOnVmExitNames = {"suspend",
                                                            "terminate"};

constexpr IntegerRange kMilliCpus = {0, 10'000'000};  // beyond any host
constexpr IntegerRange kWeight = {1, 10'000};         // cgroup v2, cpu.weight
constexpr IntegerRange kMebibytes = {0, std::int64_t{1} << 28};  // 256 TiB
constexpr IntegerRange kPrice = {1, 1'000'000};
constexpr std::size_t kRulesMax = 1024;
constexpr std::size_t kMatchBytesMax = 255;

template <class Enum, std::size_t kCount>
Enum choose(Fields& fields, std::string_view key,
            const std::array<std::string_view, kCount>& names, Enum base) {
  return static_cast<Enum>(
      fields.choice(key, names, static_cast<std::size_t>(base)));
}

template <class Enum, std::size_t kCount>
std::string name_of(const std::array<std::string_view, kCount>& names,
                    Enum value) {
  return std::string(names[static_cast<std::size_t>(value)]);
}

std::int64_t read_percent(Fields& fields, std::string_view key,
                          IntegerRange range, std::int64_t permille) {
  return 10 * fields.integer(key, range, permille / 10);
}

MilliCpus read_mcpu(Fields& fields, std::string_view key, MilliCpus base) {
  return MilliCpus{fields.integer(key, kMilliCpus, base.count())};
}

template <class Unit>
Duration read_time(Fields& fields, std::string_view key, IntegerRange range,
                   Duration base) {
  return Unit{fields.integer(key, range,
                             std::chrono::duration_cast<Unit>(base).count())};
}

Bytes read_mib(Fields& fields, std::string_view key, IntegerRange range,
               Bytes base) {
  const std::int64_t mib = kMebibyte.count();
  const std::int64_t count = fields.integer(
      key, range, base.count() < 0 ? base.count() : base.count() / mib);
  return Bytes{count < 0 ? count : count * mib};
}

CpuPolicy read_cpu(Fields& fields, const CpuPolicy& base) {
  return {
      .mode = choose(fields, "mode", kModeNames, base.mode),
      .split = choose(fields, "split", kSplitNames, base.split),
      .cap_period = read_time<milliseconds>(fields, "cap_period_ms", {10, 1000},
                                            base.cap_period),
      .burst = read_time<microseconds>(fields, "burst_us", {0, 1'000'000},
                                       base.burst),
      .cap_quantile_permille = read_percent(
          fields, "cap_quantile_percent", {50, 99}, base.cap_quantile_permille),
      .host_share = read_mcpu(fields, "host_share_mcpu", base.host_share),
      .dead_band_permille = read_percent(fields, "dead_band_percent", {0, 100},
                                         base.dead_band_permille),
      .dead_band = read_mcpu(fields, "dead_band_mcpu", base.dead_band),
      .lower_after = read_time<milliseconds>(fields, "lower_after_ms",
                                             {0, 3'600'000}, base.lower_after),
      .lower_step_permille = read_percent(fields, "lower_step_percent",
                                          {1, 100}, base.lower_step_permille),
      .writes_per_minute = fields.integer("writes_per_minute", {1, 60'000},
                                          base.writes_per_minute),
      .weights = fields.boolean("weights", base.weights)};
}

MemoryPolicy read_memory(Fields& fields, const MemoryPolicy& base) {
  return {
      .mode = choose(fields, "mode", kModeNames, base.mode),
      .period =
          read_time<milliseconds>(fields, "period_ms", {10, 1000}, base.period),
      .horizon = read_time<seconds>(fields, "horizon_s", {2, 12}, base.horizon),
      .host_share_permille = read_percent(fields, "host_share_percent", {0, 90},
                                          base.host_share_permille),
      .take_per_second = read_mib(fields, "take_mib_per_second", {4, 65'536},
                                  base.take_per_second),
      .guest_spare_permille = read_percent(fields, "guest_spare_percent",
                                           {1, 50}, base.guest_spare_permille),
      .confirm = read_time<seconds>(fields, "confirm_s", {1, 60}, base.confirm),
      .learn = read_time<seconds>(fields, "learn_s", {0, 3600}, base.learn),
      .give_after = read_time<seconds>(fields, "give_after_s", {1, 3600},
                                       base.give_after),
      .classes = base.classes};
}

MemoryClassPolicy read_memory_class(Fields& fields,
                                    const MemoryClassPolicy& base) {
  return {.floor_permille = read_percent(fields, "memory_floor_percent",
                                         {0, 100}, base.floor_permille),
          .balloon = fields.boolean("balloon_enabled", base.balloon)};
}

std::int8_t read_balloon(Fields& fields) {
  if (!fields.has("balloon_enabled")) return VmRule{}.balloon;
  return fields.boolean("balloon_enabled", true) ? 1 : 0;
}

// The specification has amounts per resource; CPU is the one there is.
MilliCpus read_cpu_of(Fields& fields, std::string_view key, MilliCpus base) {
  MilliCpus amount = base;
  fields.section(key, [&](Fields& resources) {
    amount = read_mcpu(resources, "cpu_mcpu", base);
  });
  return amount;
}

ShadowPolicy read_shadow(Fields& fields, const ShadowPolicy& base) {
  return {
      .prediction_horizon = fields.duration(
          "PredictionHorizon", {milliseconds{100}, std::chrono::hours{1}},
          base.prediction_horizon),
      .reserve_horizon = read_time<milliseconds>(
          fields, "reserve_horizon_ms", {100, 3'600'000}, base.reserve_horizon),
      .pre_allocation_threshold = read_cpu_of(fields, "PreAllocationThreshold",
                                              base.pre_allocation_threshold),
      .base = read_cpu_of(fields, "ShadowVM_BaseResources", base.base),
      .scaling = choose(fields, "ScalingPolicy", kScalingNames, base.scaling),
      .fixed_extra = read_mcpu(fields, "fixed_extra_mcpu", base.fixed_extra),
      .factor_permille = read_percent(fields, "factor_percent", {10, 1000},
                                      base.factor_permille),
      .quantile_permille = read_percent(fields, "quantile_percent", {50, 99},
                                        base.quantile_permille),
      .on_vm_exit =
          choose(fields, "on_vm_exit", kOnVmExitNames, base.on_vm_exit),
      .forecast = fields.boolean("forecast", base.forecast)};
}

ClassPolicy read_class(Fields& fields, const ClassPolicy& base) {
  const ClassPolicy its{
      .weight = fields.integer("weight", kWeight, base.weight),
      .floor_permille =
          read_percent(fields, "floor_percent", {0, 100}, base.floor_permille),
      .ceiling_permille = read_percent(fields, "ceiling_percent", {1, 1000},
                                       base.ceiling_permille),
      .overcommit_permille =
          read_percent(fields, "overcommit_percent", {100, 10'000},
                       base.overcommit_permille),
      .price_stalled =
          fields.integer("price_stalled", kPrice, base.price_stalled),
      .price_reserved =
          fields.integer("price_reserved", kPrice, base.price_reserved),
      .idle = fields.boolean("idle", base.idle)};
  if (its.floor_permille > its.ceiling_permille) {
    // Whichever the file has: the other may be an earlier file's.
    fields.refuse("floor_percent", fmt::format("at most ceiling_percent ({})",
                                               its.ceiling_permille / 10));
    fields.refuse("ceiling_percent", fmt::format("at least floor_percent ({})",
                                                 its.floor_permille / 10));
  }
  return its;
}

VmRule read_rule(Fields& fields, VmClass default_class) {
  fields.require("match");
  VmRule rule{.match = fields.text("match", ""),
              .vm_class = choose(fields, "class", kVmClassNames, default_class),
              .mode = choose(fields, "mode", kModeNames, VmRule{}.mode),
              .floor = read_mcpu(fields, "floor_mcpu", VmRule{}.floor),
              .ceiling = read_mcpu(fields, "ceiling_mcpu", VmRule{}.ceiling),
              .weight = fields.integer("weight", kWeight, VmRule{}.weight),
              .memory_floor = read_mib(fields, "memory_floor_mib", kMebibytes,
                                       VmRule{}.memory_floor),
              .balloon = read_balloon(fields)};
  if (rule.match.size() > kMatchBytesMax)
    fields.refuse("match", fmt::format("at most {} bytes", kMatchBytesMax));
  if (rule.ceiling.count() >= 0 && rule.floor > rule.ceiling)
    fields.refuse("floor_mcpu", fmt::format("at most ceiling_mcpu ({})",
                                            rule.ceiling.count()));
  return rule;
}

/// Writes keys into the open mapping of an emitter.
class Dump {
 public:
  explicit Dump(YAML::Emitter& out) : out_(out) {}

  template <class Value>
  void put(std::string_view key, const Value& value) {
    out_ << YAML::Key << std::string(key) << YAML::Value << value;
  }
  void put_percent(std::string_view key, std::int64_t permille) {
    put(key, permille / 10);
  }
  void put_mib(std::string_view key, Bytes amount) {
    put(key, amount.count() / kMebibyte.count());
  }
  void put_cpu(std::string_view key, MilliCpus amount) {
    open(key);
    put("cpu_mcpu", amount.count());
    close();
  }
  template <class Unit>
  void put_time(std::string_view key, Duration time) {
    put(key, std::chrono::duration_cast<Unit>(time).count());
  }
  void open(std::string_view key) {
    out_ << YAML::Key << std::string(key) << YAML::Value << YAML::BeginMap;
  }
  void close() { out_ << YAML::EndMap; }

 private:
  YAML::Emitter& out_;
};

void dump_cpu(Dump& dump, const CpuPolicy& cpu) {
  dump.open("cpu");
  dump.put("mode", name_of(kModeNames, cpu.mode));
  dump.put("split", name_of(kSplitNames, cpu.split));
  dump.put_time<milliseconds>("cap_period_ms", cpu.cap_period);
  dump.put_time<microseconds>("burst_us", cpu.burst);
  dump.put_percent("cap_quantile_percent", cpu.cap_quantile_permille);
  dump.put("host_share_mcpu", cpu.host_share.count());
  dump.put_percent("dead_band_percent", cpu.dead_band_permille);
  dump.put("dead_band_mcpu", cpu.dead_band.count());
  dump.put_time<milliseconds>("lower_after_ms", cpu.lower_after);
  dump.put_percent("lower_step_percent", cpu.lower_step_permille);
  dump.put("writes_per_minute", cpu.writes_per_minute);
  dump.put("weights", cpu.weights);
  dump.close();
}

void dump_memory(Dump& dump, const MemoryPolicy& memory) {
  dump.open("memory");
  dump.put("mode", name_of(kModeNames, memory.mode));
  dump.put_time<milliseconds>("period_ms", memory.period);
  dump.put_time<seconds>("horizon_s", memory.horizon);
  dump.put_percent("host_share_percent", memory.host_share_permille);
  dump.put_mib("take_mib_per_second", memory.take_per_second);
  dump.put_percent("guest_spare_percent", memory.guest_spare_permille);
  dump.put_time<seconds>("confirm_s", memory.confirm);
  dump.put_time<seconds>("learn_s", memory.learn);
  dump.put_time<seconds>("give_after_s", memory.give_after);
  dump.close();
}

void dump_shadow(Dump& dump, const ShadowPolicy& shadow) {
  dump.open("shadow");
  dump.put("PredictionHorizon", written(shadow.prediction_horizon));
  dump.put_time<milliseconds>("reserve_horizon_ms", shadow.reserve_horizon);
  dump.put_cpu("PreAllocationThreshold", shadow.pre_allocation_threshold);
  dump.put_cpu("ShadowVM_BaseResources", shadow.base);
  dump.put("ScalingPolicy", name_of(kScalingNames, shadow.scaling));
  dump.put("fixed_extra_mcpu", shadow.fixed_extra.count());
  dump.put_percent("factor_percent", shadow.factor_permille);
  dump.put_percent("quantile_percent", shadow.quantile_permille);
  dump.put("on_vm_exit", name_of(kOnVmExitNames, shadow.on_vm_exit));
  dump.put("forecast", shadow.forecast);
  dump.close();
}

void dump_class(Dump& dump, const ClassPolicy& its,
                const MemoryClassPolicy& memory) {
  dump.put("weight", its.weight);
  dump.put_percent("floor_percent", its.floor_permille);
  dump.put_percent("ceiling_percent", its.ceiling_permille);
  dump.put_percent("overcommit_percent", its.overcommit_permille);
  dump.put("price_stalled", its.price_stalled);
  dump.put("price_reserved", its.price_reserved);
  dump.put("idle", its.idle);
  dump.put_percent("memory_floor_percent", memory.floor_permille);
  dump.put("balloon_enabled", memory.balloon);
}

void dump_rule(Dump& dump, const VmRule& rule) {
  dump.put("match", rule.match);
  dump.put("class", name_of(kVmClassNames, rule.vm_class));
  dump.put("mode", name_of(kModeNames, rule.mode));
  if (rule.floor.count() >= 0) dump.put("floor_mcpu", rule.floor.count());
  if (rule.ceiling.count() >= 0) dump.put("ceiling_mcpu", rule.ceiling.count());
  if (rule.weight >= 0) dump.put("weight", rule.weight);
  if (rule.memory_floor.count() >= 0)
    dump.put_mib("memory_floor_mib", rule.memory_floor);
  if (rule.balloon >= 0) dump.put("balloon_enabled", rule.balloon == 1);
}

}  // namespace

void read_profile(Fields& fields, Config& config) {
  config.profile = choose(fields, "profile", kProfileNames, config.profile);
  if (!fields.has("profile")) return;
  const Config fast;
  const bool is_fast = config.profile == Profile::kFast;
  config.tick_period = is_fast ? fast.tick_period : std::chrono::seconds{1};
  config.policy.shadow.prediction_horizon =
      is_fast ? fast.policy.shadow.prediction_horizon : std::chrono::seconds{5};
}

void read_policy(Fields& fields, Config& config) {
  Policy& policy = config.policy;
  policy.mode = choose(fields, "mode", kModeNames, policy.mode);
  fields.section("cpu", [&](Fields& section) {
    policy.cpu = read_cpu(section, policy.cpu);
  });
  fields.section("memory", [&](Fields& section) {
    policy.memory = read_memory(section, policy.memory);
  });
  fields.section("shadow", [&](Fields& section) {
    config.tick_period =
        section.duration("MonitoringInterval", kTickPeriod, config.tick_period);
    if (fields.has("tick_period_ms"))
      section.refuse("MonitoringInterval", "no tick_period_ms beside it");
    policy.shadow = read_shadow(section, policy.shadow);
  });
  fields.section("classes", [&](Fields& section) {
    for (std::size_t i = 0; i < kVmClasses; ++i)
      section.section(kVmClassNames[i], [&, i](Fields& its) {
        policy.classes[i] = read_class(its, policy.classes[i]);
        policy.memory.classes[i] =
            read_memory_class(its, policy.memory.classes[i]);
      });
  });
  policy.default_class =
      choose(fields, "default_class", kVmClassNames, policy.default_class);
  std::vector<VmRule> rules;
  if (fields.list("vms", kRulesMax, [&](Fields& entry) {
        rules.push_back(read_rule(entry, policy.default_class));
      }))
    policy.vms = std::move(rules);
}

void dump_policy(YAML::Emitter& out, const Config& config) {
  const Policy& policy = config.policy;
  Dump dump{out};
  dump.put("profile", name_of(kProfileNames, config.profile));
  dump.put("mode", name_of(kModeNames, policy.mode));
  dump_cpu(dump, policy.cpu);
  dump_memory(dump, policy.memory);
  dump_shadow(dump, policy.shadow);
  dump.open("classes");
  for (std::size_t i = 0; i < kVmClasses; ++i) {
    dump.open(kVmClassNames[i]);
    dump_class(dump, policy.classes[i], policy.memory.classes[i]);
    dump.close();
  }
  dump.close();
  dump.put("default_class", name_of(kVmClassNames, policy.default_class));
  out << YAML::Key << "vms" << YAML::Value << YAML::BeginSeq;
  for (const VmRule& rule : policy.vms) {
    out << YAML::BeginMap;
    dump_rule(dump, rule);
    out << YAML::EndMap;
  }
  out << YAML::EndSeq;
}

}  // namespace outrider
