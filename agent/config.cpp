// SPDX-License-Identifier: Apache-2.0
#include "agent/config.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "agent/config_policy.h"
#include "agent/fields.h"
#include "agent/sys/fd.h"

namespace outrider {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

// In the order of their enumerators.
constexpr std::array<std::string_view, 3> kSensors = {"auto", "bpf", "files"};
constexpr std::array<std::string_view, 3> kEventBackends = {"auto", "io_uring",
                                                            "epoll"};
constexpr std::array<std::string_view, 4> kLogLevels = {"error", "warning",
                                                        "info", "debug"};
constexpr std::array<std::string_view, 5> kModelTypes = {
    "arima", "prophet", "exponential_smoothing", "seasonal_naive", "lstm"};
constexpr IntegerRange kTickPeriodMs = {kTickPeriod.min / milliseconds{1},
                                        kTickPeriod.max / milliseconds{1}};
constexpr IntegerRange kVmCount = {1, 4096};
constexpr IntegerRange kBlameSample = {1, 1000};
constexpr IntegerRange kLoopPriority = {0, 50};
constexpr std::size_t kSocketBytesMax = sizeof(sockaddr_un::sun_path) - 1;
constexpr std::size_t kGroupBytesMax = 32;  // useradd(8)
constexpr std::size_t kFileBytesRead = (std::size_t{1} << 20) + 1;

Duration read_ms(Fields& fields, std::string_view key, IntegerRange range,
                 Duration base) {
  const auto count = std::chrono::duration_cast<milliseconds>(base).count();
  return milliseconds{fields.integer(key, range, count)};
}

Duration read_us(Fields& fields, std::string_view key, IntegerRange range,
                 Duration base) {
  const auto count = std::chrono::duration_cast<microseconds>(base).count();
  return microseconds{fields.integer(key, range, count)};
}

std::string mode_text(mode_t mode) { return fmt::format("{:04o}", mode); }

mode_t read_mode(Fields& fields, mode_t base) {
  const std::string text = fields.text("mode", mode_text(base));
  const char* end = text.data() + text.size();
  mode_t mode = 0;
  const auto parsed = std::from_chars(text.data(), end, mode, 8);
  if (text.size() == 4 && parsed.ec == std::errc{} && parsed.ptr == end &&
      mode <= 0777)
    return mode;
  fields.refuse("mode", "four octal digits \"0000\"..\"0777\"");
  return base;
}

std::string mount_text(const std::string& mount) {
  return mount.empty() ? "auto" : mount;
}

std::string read_cgroup_mount(Fields& fields, const std::string& base) {
  const std::string text = fields.text("cgroup_mount", mount_text(base));
  if (text == "auto") return "";
  if (text.front() != '/')
    fields.refuse("cgroup_mount", "auto or a path from /");
  return text;
}

bool is_group_name(std::string_view name) {
  if (name.empty() || name.size() > kGroupBytesMax) return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
  });
}

ControlConfig read_control(Fields& fields, const ControlConfig& base) {
  ControlConfig control{.socket = fields.text("socket", base.socket),
                        .mode = read_mode(fields, base.mode),
                        .group = fields.text("group", base.group)};
  if (control.socket.front() != '/' || control.socket.size() > kSocketBytesMax)
    fields.refuse("socket", fmt::format("a path from / of at most {} bytes",
                                        kSocketBytesMax));
  if (!is_group_name(control.group))
    fields.refuse("group", "the name of a group");
  return control;
}

SenseConfig read_sense(Fields& fields, const SenseConfig& base) {
  return {.sensor = static_cast<SensorChoice>(fields.choice(
              "sensor", kSensors, static_cast<std::size_t>(base.sensor))),
          .blame = fields.boolean("blame", base.blame),
          .blame_sample = static_cast<std::uint32_t>(
              fields.integer("blame_sample", kBlameSample, base.blame_sample)),
          .guest_time = fields.boolean("guest_time", base.guest_time),
          .edges = fields.boolean("edges", base.edges)};
}

EdgeConfig read_edge(Fields& fields, const EdgeConfig& base) {
  return {.quota_reaction = read_us(fields, "quota_reaction_us", {0, 100'000},
                                    base.quota_reaction),
          .wait_climb = read_us(fields, "wait_climb_us", {0, 1'000'000},
                                base.wait_climb)};
}

DiscoveryConfig read_discovery(Fields& fields, const DiscoveryConfig& base) {
  return {.libvirt = fields.boolean("libvirt", base.libvirt),
          .proxmox = fields.boolean("proxmox", base.proxmox),
          .processes = fields.boolean("processes", base.processes)};
}

JournalConfig read_journal(Fields& fields, const JournalConfig& base) {
  constexpr IntegerRange kBytesMax = {1 << 20, std::int64_t{1} << 40};
  constexpr IntegerRange kSegmentBytes = {1 << 16, std::int64_t{1} << 32};
  const auto bytes = [&](const char* key, IntegerRange range,
                         std::uint64_t present) {
    return static_cast<std::uint64_t>(
        fields.integer(key, range, static_cast<std::int64_t>(present)));
  };
  JournalConfig journal{
      .enabled = fields.boolean("enabled", base.enabled),
      .directory = fields.text("directory", base.directory),
      .bytes_max = bytes("bytes_max", kBytesMax, base.bytes_max),
      .segment_bytes =
          bytes("segment_bytes", kSegmentBytes, base.segment_bytes)};
  if (journal.directory.front() != '/')
    fields.refuse("directory", "a path from /");
  return journal;
}

std::vector<ModelType> read_model_types(Fields& fields,
                                        const std::vector<ModelType>& base) {
  std::vector<std::size_t> places;
  places.reserve(base.size());
  for (const ModelType type : base) {
    places.push_back(static_cast<std::size_t>(type));
  }
  std::vector<ModelType> types;
  for (const std::size_t place :
       fields.choices("model_types", kModelTypes, std::move(places))) {
    types.push_back(static_cast<ModelType>(place));
  }
  if (types == std::vector{ModelType::kLstm})
    fields.refuse("model_types", "another one as well: there is no lstm");
  return types;
}

PredictiveConfig read_predictive(Fields& fields, const PredictiveConfig& base) {
  constexpr IntegerRange kHorizonSeconds = {300, 86'400};
  constexpr IntegerRange kLeadSeconds = {0, 86'400};
  constexpr NumberRange kShare = {0, 1};
  const auto read_s = [&](const char* key, IntegerRange range, Duration time) {
    return seconds{fields.integer(key, range, time / seconds{1})};
  };
  PredictiveConfig predictive{
      .enabled = fields.boolean("enabled", base.enabled),
      .directory = fields.text("directory", base.directory),
      .forecasting_horizon = read_s("forecasting_horizon", kHorizonSeconds,
                                    base.forecasting_horizon),
      .model_types = read_model_types(fields, base.model_types),
      .confidence_threshold = fields.number("confidence_threshold", kShare,
                                            base.confidence_threshold),
      .lead_time = read_s("lead_time", kLeadSeconds, base.lead_time),
      .forecast_accuracy_target = fields.number(
          "forecast_accuracy_target", kShare, base.forecast_accuracy_target)};
  if (predictive.directory.front() != '/')
    fields.refuse("directory", "a path from /");
  if (predictive.lead_time > predictive.forecasting_horizon) {
    // Whichever the file has: the other may be an earlier file's.
    fields.refuse("lead_time",
                  fmt::format("at most forecasting_horizon ({})",
                              predictive.forecasting_horizon / seconds{1}));
    fields.refuse("forecasting_horizon",
                  fmt::format("at least lead_time ({})",
                              predictive.lead_time / seconds{1}));
  }
  return predictive;
}

Result<std::string> read_file(const std::string& path) {
  const Fd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (!fd) return fail(errno, fmt::format("open: {}", path));
  std::string text(kFileBytesRead, '\0');
  std::size_t size = 0;
  while (size < text.size()) {
    const ssize_t got =
        ::read(fd.get(), text.data() + size, text.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(errno, fmt::format("read: {}", path));
    if (got == 0) break;
    size += static_cast<std::size_t>(got);
  }
  text.resize(size);
  return text;
}

// The files that make up a configuration, in the order of their weight.
Result<std::vector<std::string>> find_files(const std::string& dir) {
  namespace fs = std::filesystem;
  std::error_code error;
  std::vector<std::string> files;
  for (fs::directory_iterator at(fs::path(dir) / "conf.d", error), end;
       !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename();
    if (name.front() != '.' && at->path().extension() == ".yaml")
      files.push_back(at->path());
  }
  if (error && error != std::errc::no_such_file_or_directory)
    return fail(error.value(), fmt::format("read: {}/conf.d", dir));
  std::sort(files.begin(), files.end());
  const std::string main_file = fs::path(dir) / "outrider.yaml";
  if (fs::exists(main_file, error)) files.insert(files.begin(), main_file);
  if (error && error != std::errc::no_such_file_or_directory)
    return fail(error.value(), fmt::format("find: {}", main_file));
  return files;
}

/// The shortest text that reads back the same, without an exponent: a file may
/// have none. Shape: 0..1.
std::string decimal(double value) {
  std::array<char, 400> text{};  // the longest has 326 characters
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value,
                                 std::chars_format::fixed);
  assert(end.ec == std::errc{});
  return {text.data(), end.ptr};
}

void dump_predictive(YAML::Emitter& out, const PredictiveConfig& predictive) {
  const auto put = [&out](const char* key, const auto& value) {
    out << YAML::Key << key << YAML::Value << value;
  };
  const auto put_number = [&put](const char* key, double value) {
    put(key, decimal(value));
  };
  out << YAML::Key << "predictive_scaling" << YAML::Value << YAML::BeginMap;
  put("enabled", predictive.enabled);
  put("directory", predictive.directory);
  put("forecasting_horizon", predictive.forecasting_horizon / seconds{1});
  out << YAML::Key << "model_types" << YAML::Value << YAML::Flow
      << YAML::BeginSeq;
  for (const ModelType type : predictive.model_types) {
    out << std::string(kModelTypes[static_cast<std::size_t>(type)]);
  }
  out << YAML::EndSeq;
  put_number("confidence_threshold", predictive.confidence_threshold);
  put("lead_time", predictive.lead_time / seconds{1});
  put_number("forecast_accuracy_target", predictive.forecast_accuracy_target);
  out << YAML::EndMap;
}

}  // namespace

Result<Config> parse_config(std::string name, std::string_view text,
                            const Config& base) {
  auto parsed = Fields::parse(std::move(name), text);
  if (!parsed) return tl::unexpected<Error>(std::move(parsed.error()));
  Fields& fields = *parsed;
  Config config = base;
  read_profile(fields, config);
  config.tick_period =
      read_ms(fields, "tick_period_ms", kTickPeriodMs, config.tick_period);
  config.slow_period =
      read_ms(fields, "slow_period_ms", {50, 5000}, base.slow_period);
  config.run_directory = fields.text("run_directory", base.run_directory);
  if (config.run_directory.front() != '/')
    fields.refuse("run_directory", "a path from /");
  config.cgroup_mount = read_cgroup_mount(fields, base.cgroup_mount);
  fields.section("control", [&](Fields& section) {
    config.control = read_control(section, base.control);
  });
  fields.section("sense", [&](Fields& section) {
    config.sense = read_sense(section, base.sense);
  });
  fields.section("edge", [&](Fields& section) {
    config.edge = read_edge(section, base.edge);
  });
  fields.section("discovery", [&](Fields& section) {
    config.discovery = read_discovery(section, base.discovery);
  });
  config.hang_deadline =
      read_ms(fields, "hang_deadline_ms", {100, 60'000}, base.hang_deadline);
  fields.section("journal", [&](Fields& section) {
    config.journal = read_journal(section, base.journal);
  });
  fields.section("predictive_scaling", [&](Fields& section) {
    config.predictive = read_predictive(section, base.predictive);
  });
  config.loop_priority = static_cast<int>(
      fields.integer("loop_priority", kLoopPriority, base.loop_priority));
  config.vm_count_max = static_cast<std::uint32_t>(
      fields.integer("vm_count_max", kVmCount, base.vm_count_max));
  config.event_backend = static_cast<EventBackend>(
      fields.choice("event_backend", kEventBackends,
                    static_cast<std::size_t>(base.event_backend)));
  config.log_level = static_cast<LogLevel>(fields.choice(
      "log_level", kLogLevels, static_cast<std::size_t>(base.log_level)));
  read_policy(fields, config);
  auto done = fields.finish();
  if (!done) return tl::unexpected<Error>(std::move(done.error()));
  return config;
}

Result<Config> load_config(const std::string& file, const std::string& dir) {
  std::vector<std::string> files = {file};
  if (file.empty()) {
    auto found = find_files(dir);
    if (!found) return pass(found, "config");
    files = *std::move(found);
  }
  Config config;
  for (const std::string& path : files) {
    auto text = read_file(path);
    if (!text) return pass(text, "config");
    auto parsed = parse_config(path, *text, config);
    if (!parsed) return pass(parsed, "config");
    config = *std::move(parsed);
  }
  return config;
}

std::string dump_config(const Config& config) {
  const auto ms = [](Duration duration) {
    return std::chrono::duration_cast<milliseconds>(duration).count();
  };
  const auto us = [](Duration duration) {
    return std::chrono::duration_cast<microseconds>(duration).count();
  };
  YAML::Emitter out;
  out << YAML::BeginMap;
  const auto put = [&out](const char* key, const auto& value) {
    out << YAML::Key << key << YAML::Value << value;
  };
  const auto open = [&out](const char* key) {
    out << YAML::Key << key << YAML::Value << YAML::BeginMap;
  };
  put("tick_period_ms", ms(config.tick_period));
  put("slow_period_ms", ms(config.slow_period));
  put("run_directory", config.run_directory);
  put("cgroup_mount", mount_text(config.cgroup_mount));
  open("control");
  put("socket", config.control.socket);
  out << YAML::Key << "mode" << YAML::Value << YAML::DoubleQuoted
      << mode_text(config.control.mode);
  put("group", config.control.group);
  out << YAML::EndMap;
  open("sense");
  put("sensor",
      std::string(kSensors[static_cast<std::size_t>(config.sense.sensor)]));
  put("blame", config.sense.blame);
  put("blame_sample", config.sense.blame_sample);
  put("guest_time", config.sense.guest_time);
  put("edges", config.sense.edges);
  out << YAML::EndMap;
  open("edge");
  put("quota_reaction_us", us(config.edge.quota_reaction));
  put("wait_climb_us", us(config.edge.wait_climb));
  out << YAML::EndMap;
  open("discovery");
  put("libvirt", config.discovery.libvirt);
  put("proxmox", config.discovery.proxmox);
  put("processes", config.discovery.processes);
  out << YAML::EndMap;
  put("hang_deadline_ms", ms(config.hang_deadline));
  open("journal");
  put("enabled", config.journal.enabled);
  put("directory", config.journal.directory);
  put("bytes_max", config.journal.bytes_max);
  put("segment_bytes", config.journal.segment_bytes);
  out << YAML::EndMap;
  dump_predictive(out, config.predictive);
  put("loop_priority", config.loop_priority);
  put("vm_count_max", config.vm_count_max);
  put("event_backend",
      std::string(
          kEventBackends[static_cast<std::size_t>(config.event_backend)]));
  put("log_level",
      std::string(kLogLevels[static_cast<std::size_t>(config.log_level)]));
  dump_policy(out, config);
  out << YAML::EndMap;
  return std::string(out.c_str()) + '\n';
}

}  // namespace outrider
