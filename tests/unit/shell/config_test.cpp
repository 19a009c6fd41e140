// SPDX-License-Identifier: Apache-2.0
#include "agent/config.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "tests/unit/shell/config_parse.h"

namespace outrider {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

// Every key, with a value that is not its default.
const std::vector<KeyCase>& every_key() {
  static const std::vector<KeyCase> cases = {
      {"tick_period_ms: 10",
       [](Config& c) { c.tick_period = milliseconds{10}; }},
      {"slow_period_ms: 500",
       [](Config& c) { c.slow_period = milliseconds{500}; }},
      {"cgroup_mount: /x", [](Config& c) { c.cgroup_mount = "/x"; }},
      {"control: {socket: /tmp/x.sock}",
       [](Config& c) { c.control.socket = "/tmp/x.sock"; }},
      {"control: {mode: \"0666\"}", [](Config& c) { c.control.mode = 0666; }},
      {"control: {group: staff}", [](Config& c) { c.control.group = "staff"; }},
      {"sense: {sensor: bpf}",
       [](Config& c) { c.sense.sensor = SensorChoice::kBpf; }},
      {"sense: {sensor: files}",
       [](Config& c) { c.sense.sensor = SensorChoice::kFiles; }},
      {"sense: {blame: false}", [](Config& c) { c.sense.blame = false; }},
      {"sense: {blame_sample: 100}",
       [](Config& c) { c.sense.blame_sample = 100; }},
      {"sense: {guest_time: true}",
       [](Config& c) { c.sense.guest_time = true; }},
      {"sense: {edges: false}", [](Config& c) { c.sense.edges = false; }},
      {"journal: {enabled: false}",
       [](Config& c) { c.journal.enabled = false; }},
      {"journal: {directory: /x}",
       [](Config& c) { c.journal.directory = "/x"; }},
      {"journal: {bytes_max: 200000000}",
       [](Config& c) { c.journal.bytes_max = 200'000'000; }},
      {"journal: {segment_bytes: 65536}",
       [](Config& c) { c.journal.segment_bytes = 65'536; }},
      {"predictive_scaling: {enabled: true}",
       [](Config& c) { c.predictive.enabled = true; }},
      {"predictive_scaling: {directory: /x}",
       [](Config& c) { c.predictive.directory = "/x"; }},
      {"predictive_scaling: {forecasting_horizon: 7200}",
       [](Config& c) { c.predictive.forecasting_horizon = seconds{7200}; }},
      {"predictive_scaling: {model_types: [lstm, arima]}",
       [](Config& c) {
         c.predictive.model_types = {ModelType::kLstm, ModelType::kArima};
       }},
      {"predictive_scaling: {model_types: [seasonal_naive]}",
       [](Config& c) {
         c.predictive.model_types = {ModelType::kSeasonalNaive};
       }},
      {"predictive_scaling: {confidence_threshold: 0.905}",
       [](Config& c) { c.predictive.confidence_threshold = 0.905; }},
      {"predictive_scaling: {confidence_threshold: 0.00001}",
       [](Config& c) { c.predictive.confidence_threshold = 0.00001; }},
      {"predictive_scaling: {lead_time: 0}",
       [](Config& c) { c.predictive.lead_time = seconds{0}; }},
      {"predictive_scaling: {forecast_accuracy_target: 1}",
       [](Config& c) { c.predictive.forecast_accuracy_target = 1; }},
      {"edge: {quota_reaction_us: 500}",
       [](Config& c) { c.edge.quota_reaction = microseconds{500}; }},
      {"edge: {wait_climb_us: 700}",
       [](Config& c) { c.edge.wait_climb = microseconds{700}; }},
      {"discovery: {libvirt: false}",
       [](Config& c) { c.discovery.libvirt = false; }},
      {"discovery: {proxmox: false}",
       [](Config& c) { c.discovery.proxmox = false; }},
      {"discovery: {processes: false}",
       [](Config& c) { c.discovery.processes = false; }},
      {"loop_priority: 0", [](Config& c) { c.loop_priority = 0; }},
      {"vm_count_max: 7", [](Config& c) { c.vm_count_max = 7; }},
      {"event_backend: io_uring",
       [](Config& c) { c.event_backend = EventBackend::kIoUring; }},
      {"event_backend: epoll",
       [](Config& c) { c.event_backend = EventBackend::kEpoll; }},
      {"log_level: debug", [](Config& c) { c.log_level = LogLevel::kDebug; }},
      {"log_level: error", [](Config& c) { c.log_level = LogLevel::kError; }},
      {"log_level: warning",
       [](Config& c) { c.log_level = LogLevel::kWarning; }},
  };
  return cases;
}

TEST(ParseConfig, EveryKeyReachesItsFieldAndNoOther) {
  for (const KeyCase& key : every_key())
    expect_to_reach_its_field_and_no_other(key);
}

TEST(ParseConfig, NothingGivesTheDefaults) {
  for (const char* text : {"", "# only a comment\n", "---\n", "{}"}) {
    const auto config = parse(text);
    ASSERT_TRUE(config) << text;
    EXPECT_TRUE(*config == Config{}) << text;
  }
}

TEST(DumpConfig, ParsesBackToTheSame) {
  for (const KeyCase& key : every_key()) {
    Config config;
    key.expect(config);
    expect_to_parse_back(config);
  }
}

TEST(DumpConfig, AnyShareParsesBackToTheSame) {
  for (const double share : {0.0, 5e-324, 2.3e-308, 1e-5, 1.0 / 3, 1.0}) {
    Config config;
    config.predictive.confidence_threshold = share;
    expect_to_parse_back(config);
  }
}

TEST(DumpConfig, NamesEveryKey) {
  const std::string dump = dump_config(Config{});
  for (const KeyCase& key : every_key()) {
    std::string name = key.text.substr(key.text.find('{') + 1);
    if (key.text.find('{') == std::string::npos) name = key.text;
    name.resize(name.find(':'));
    EXPECT_NE(dump.find(name + ":"), std::string::npos) << name;
  }
}

TEST(ParseConfig, RangesHoldAtBothEnds) {
  const std::vector<RangeCase> ranges = {
      {"", "tick_period_ms", 5, 60'000},
      {"", "slow_period_ms", 50, 5000},
      {"sense", "blame_sample", 1, 1000},
      {"journal", "bytes_max", 1 << 20, std::int64_t{1} << 40},
      {"journal", "segment_bytes", 1 << 16, std::int64_t{1} << 32},
      {"predictive_scaling", "forecasting_horizon", 300, 86'400},
      {"edge", "quota_reaction_us", 0, 100'000},
      {"edge", "wait_climb_us", 0, 1'000'000},
      {"", "loop_priority", 0, 50},
      {"", "vm_count_max", 1, 4096},
  };
  for (const RangeCase& range : ranges) expect_range(range);
}

TEST(ParseConfig, NamesFileLineKeyAndRange) {
  EXPECT_EQ(error_of("# one\n\nslow_period_ms: 100\ntick_period_ms: 4\n"),
            "outrider.yaml:4: tick_period_ms: want 5..60000, got 4");
}

TEST(ParseConfig, RefusesOtherTypes) {
  EXPECT_EQ(error_of("sense:\n  blame: 1"),
            "outrider.yaml:2: sense.blame: want true or false, got 1");
  EXPECT_EQ(error_of("journal:\n  directory: x"),
            "outrider.yaml:2: journal.directory: want a path from /, got x");
  EXPECT_EQ(error_of("sense:\n  edges: yes"),
            "outrider.yaml:2: sense.edges: want true or false, got yes");
  EXPECT_EQ(error_of("sense: true"),
            "outrider.yaml:1: sense: want indented `key: value` lines, "
            "got true");
  EXPECT_EQ(error_of("sense:"),
            "outrider.yaml:1: sense: want indented `key: value` lines, "
            "got nothing");
  EXPECT_EQ(error_of("- a"), "outrider.yaml:1: want `key: value` lines");
  EXPECT_EQ(error_of("hello"), "outrider.yaml:1: want `key: value` lines");
}

TEST(ParseConfig, RefusesOtherWords) {
  EXPECT_EQ(error_of("sense: {sensor: ebpf}"),
            "outrider.yaml:1: sense.sensor: want one of auto, bpf, files, "
            "got ebpf");
  EXPECT_EQ(error_of("log_level: trace"),
            "outrider.yaml:1: log_level: want one of error, warning, info, "
            "debug, got trace");
}

// As it stands there, but for the number of instances.
TEST(ParseConfig, TakesTheSpecificationsPredictiveScaling) {
  const auto config = parse(
      "predictive_scaling:\n"
      "  forecasting_horizon: 3600 # 1 hour\n"
      "  model_types:\n"
      "    - 'arima'\n"
      "    - 'prophet'\n"
      "    - 'lstm'\n"
      "  confidence_threshold: 0.85\n"
      "  lead_time: 300 # 5 minutes\n");
  ASSERT_TRUE(config) << config.error().what;
  Config expected;
  expected.predictive.model_types = {ModelType::kArima, ModelType::kProphet,
                                     ModelType::kLstm};
  EXPECT_TRUE(*config == expected) << dump_config(*config);
}

TEST(ParseConfig, NumbersAreDecimalFractions) {
  const auto error = [](const std::string& value) {
    return error_of("predictive_scaling: {confidence_threshold: " + value +
                    "}");
  };
  for (const char* good : {"0", "1", "0.5", "0.999", "1.0"}) {
    EXPECT_EQ(error(good), "no error") << good;
  }
  for (const std::string& bad :
       {std::string("1.01"), std::string("-0.1"), std::string("nan"),
        std::string("inf"), std::string("1e-1"), std::string("85%"),
        std::string("\"0.5\""), std::string("0.5.5"), std::string("yes")}) {
    EXPECT_EQ(error(bad),
              "outrider.yaml:1: predictive_scaling.confidence_threshold: want "
              "0..1, got " +
                  bad);
  }
}

TEST(ParseConfig, ModelTypesAreAListOfKnownOnes) {
  const auto error = [](const std::string& value) {
    return error_of("predictive_scaling:\n  model_types: " + value);
  };
  const std::string names =
      "arima, prophet, exponential_smoothing, seasonal_naive, lstm";
  const std::string key = "outrider.yaml:2: predictive_scaling.model_types: ";
  EXPECT_EQ(error("arima"), key + "want a list of " + names + ", got arima");
  EXPECT_EQ(error("[]"), key + "want a list of " + names + ", got a list");
  EXPECT_EQ(error("[arima, lstn]"),
            key + "want each of " + names + " once at most, got lstn");
  EXPECT_EQ(error("[arima, arima]"),
            key + "want each of " + names + " once at most, got arima");
  EXPECT_EQ(error("[[arima]]"),
            key + "want each of " + names + " once at most, got a list");
  EXPECT_EQ(error("[lstm]"),
            key + "want another one as well: there is no lstm, got a list");
}

TEST(ParseConfig, NothingIsLedBeyondItsHorizon) {
  EXPECT_EQ(error_of("predictive_scaling:\n  lead_time: 3601"),
            "outrider.yaml:2: predictive_scaling.lead_time: want at most "
            "forecasting_horizon (3600), got 3601");
  // Against the default of 300.
  EXPECT_TRUE(parse("predictive_scaling: {forecasting_horizon: 300}"));
  Config base;
  base.predictive.lead_time = seconds{900};
  const auto config =
      parse("predictive_scaling: {forecasting_horizon: 600}", base);
  ASSERT_FALSE(config);
  EXPECT_EQ(config.error().what,
            "outrider.yaml:1: predictive_scaling.forecasting_horizon: want at "
            "least lead_time (900), got 600");
}

TEST(ParseConfig, ModeIsFourOctalDigits) {
  EXPECT_TRUE(parse("control: {mode: 0600}"));
  for (const char* bad :
       {"\"660\"", "\"0888\"", "\"7777\"", "\"-660\"", "\"06600\"", "rw"})
    EXPECT_NE(error_of(std::string("control: {mode: ") + bad + "}")
                  .find("control.mode: want four octal digits"),
              std::string::npos)
        << bad;
}

TEST(ParseConfig, SocketIsAnAbsolutePathThatFits) {
  EXPECT_TRUE(parse("control: {socket: /" + std::string(106, 'x') + "}"));
  EXPECT_NE(error_of("control: {socket: /" + std::string(107, 'x') + "}")
                .find("control.socket: want a path from / of at most 107"),
            std::string::npos);
  EXPECT_NE(error_of("control: {socket: run/x}").find("want a path"),
            std::string::npos);
  EXPECT_NE(error_of("control: {group: \"a b\"}")
                .find("control.group: want the name of a group, got \"a b\""),
            std::string::npos);
}

TEST(ParseConfig, RefusesUnknownKeysByName) {
  EXPECT_EQ(error_of("tick_period_s: 1"),
            "outrider.yaml:1: tick_period_s: unknown key; did you mean "
            "tick_period_ms?");
  EXPECT_EQ(error_of("sense:\n  sensr: bpf"),
            "outrider.yaml:2: sense.sensr: unknown key; did you mean sensor?");
  EXPECT_EQ(error_of("colour: red"), "outrider.yaml:1: colour: unknown key");
  EXPECT_EQ(error_of("? [a]\n: b"), "outrider.yaml:1: a list: unknown key");
}

TEST(ParseConfig, RefusesDuplicatesAnchorsAliasesTagsAndDocuments) {
  EXPECT_EQ(error_of("vm_count_max: 1\nvm_count_max: 2"),
            "outrider.yaml:2: vm_count_max: this key is given twice");
  EXPECT_EQ(error_of("edge:\n  wait_climb_us: 1\n  wait_climb_us: 1"),
            "outrider.yaml:3: wait_climb_us: this key is given twice");
  EXPECT_EQ(error_of("vm_count_max: &a 1"),
            "outrider.yaml:1: an anchor is not accepted");
  EXPECT_NE(error_of("vm_count_max: &a 1\nloop_priority: *a"), "no error");
  EXPECT_EQ(error_of("vm_count_max: !!int 1"),
            "outrider.yaml:1: a tag is not accepted");
  EXPECT_EQ(error_of("vm_count_max: 1\n---\nvm_count_max: 2"),
            "outrider.yaml: more than one document");
}

TEST(ParseConfig, RefusesWhatIsTooDeepOrTooLong) {
  EXPECT_EQ(error_of("a: " + std::string(8, '[') + std::string(8, ']')),
            "outrider.yaml:1: nested deeper than 8");
  EXPECT_NE(error_of(std::string(1'000'000, '[')), "no error");
  EXPECT_EQ(error_of(std::string((1 << 20) + 1, '#')),
            "outrider.yaml: more than 1048576 bytes");
  EXPECT_NE(error_of(std::string("vm_count_max: 1\0", 16)), "no error");
}

TEST(ParseConfig, SaysWhereYamlItselfIsBroken) {
  EXPECT_EQ(error_of("vm_count_max: 1\n  x: [").substr(0, 16),
            "outrider.yaml:2:");
}

class ConfigDir : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/outrider-config-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    dir_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  void write(const std::string& name, const std::string& text) const {
    const std::filesystem::path path = dir_ + "/" + name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << text;
  }

  std::string dir_;
};

TEST_F(ConfigDir, NothingIsNeeded) {
  const auto config = load_config("", dir_);
  ASSERT_TRUE(config) << config.error().what;
  EXPECT_TRUE(*config == Config{});
  EXPECT_TRUE(load_config("", dir_ + "/missing"));
}

TEST_F(ConfigDir, LaterFilesOverrideSingleKeys) {
  write("outrider.yaml", "vm_count_max: 1\nedge: {wait_climb_us: 1}");
  write("conf.d/20-b.yaml", "vm_count_max: 3");
  write("conf.d/10-a.yaml", "vm_count_max: 2\nedge: {quota_reaction_us: 9}");
  write("conf.d/30-c.yaml.bak", "vm_count_max: 4");
  write("conf.d/.40-d.yaml", "vm_count_max: 5");
  const auto config = load_config("", dir_);
  ASSERT_TRUE(config) << config.error().what;
  EXPECT_EQ(config->vm_count_max, 3U);
  EXPECT_EQ(config->edge.wait_climb, microseconds{1});
  EXPECT_EQ(config->edge.quota_reaction, microseconds{9});
}

TEST_F(ConfigDir, NamesTheDropInThatIsWrong) {
  write("conf.d/10-a.yaml", "\nvm_count_max: 0");
  const auto config = load_config("", dir_);
  ASSERT_FALSE(config);
  EXPECT_EQ(config.error().what,
            "config: " + dir_ +
                "/conf.d/10-a.yaml:2: vm_count_max: want 1..4096, got 0");
}

TEST_F(ConfigDir, TheNamedFileStandsAlone) {
  write("conf.d/10-a.yaml", "vm_count_max: 2");
  write("my.yaml", "loop_priority: 3");
  const auto config = load_config(dir_ + "/my.yaml", dir_);
  ASSERT_TRUE(config) << config.error().what;
  EXPECT_EQ(config->loop_priority, 3);
  EXPECT_EQ(config->vm_count_max, Config{}.vm_count_max);
  EXPECT_FALSE(load_config(dir_ + "/missing.yaml", dir_));
  EXPECT_FALSE(load_config(dir_, dir_)) << "a directory is no file";
}

}  // namespace
}  // namespace outrider
