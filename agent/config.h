// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "agent/base/result.h"
#include "agent/base/units.h"
#include "agent/core/policy.h"
#include "agent/log.h"
#include "agent/sys/event_loop.h"

namespace outrider {

struct ControlConfig {
  std::string socket = "/run/outrider/control.sock";
  mode_t mode = 0660;
  std::string group = "outrider";  // its members are operators

  friend bool operator==(const ControlConfig&, const ControlConfig&) = default;
};

enum class SensorChoice : std::uint8_t { kAuto, kBpf, kFiles };

struct SenseConfig {
  SensorChoice sensor = SensorChoice::kAuto;
  bool blame = true;               // who held the CPU a vCPU waited for
  std::uint32_t blame_sample = 8;  // one in so many waits is looked at
  bool guest_time = false;         // time in guest mode
  bool edges = true;

  friend bool operator==(const SenseConfig&, const SenseConfig&) = default;
};

struct EdgeConfig {
  // Remaining quota under which a VM is about to meet its limit; 0: off.
  Duration quota_reaction = std::chrono::microseconds{2000};
  // Wait of an open busy period above which waiting climbs; 0: off.
  Duration wait_climb = std::chrono::microseconds{2000};

  friend bool operator==(const EdgeConfig&, const EdgeConfig&) = default;
};

struct DiscoveryConfig {
  bool libvirt = true;
  bool proxmox = true;
  bool processes = true;  // any other process that uses KVM

  friend bool operator==(const DiscoveryConfig&,
                         const DiscoveryConfig&) = default;
};

/// Decisions, to be made once more and explained.
struct JournalConfig {
  bool enabled = true;
  std::string directory = "/var/lib/outrider/journal";
  std::uint64_t bytes_max = std::uint64_t{1} << 30;
  // Of a segment's calls; a quarter of bytes_max at most.
  std::uint64_t segment_bytes = std::uint64_t{64} << 20;

  friend bool operator==(const JournalConfig&, const JournalConfig&) = default;
};

/// The models of the long horizon, by the specification's names.
enum class ModelType : std::uint8_t {
  kArima,
  kProphet,  // ours is like it
  kExponentialSmoothing,
  kSeasonalNaive,
  kLstm,  // named there, not here
};

/// Minutes to hours ahead: what the reserve is told of the slots to come.
struct PredictiveConfig {
  bool enabled = false;
  std::string directory = "/var/lib/outrider/rollups";
  // So far ahead there are upper ends at any time.
  Duration forecasting_horizon = std::chrono::hours{1};
  std::vector<ModelType> model_types = {ModelType::kArima, ModelType::kProphet,
                                        ModelType::kExponentialSmoothing,
                                        ModelType::kSeasonalNaive};
  // Of upper ends an hour ahead, the share that held; less is not relied on.
  double confidence_threshold = 0.85;
  // The reserve is there so long before; at most the horizon.
  Duration lead_time = std::chrono::minutes{5};
  double forecast_accuracy_target = 0.85;  // 1 - WAPE, an hour ahead

  friend bool operator==(const PredictiveConfig&,
                         const PredictiveConfig&) = default;
};

/// A name for a tick's length and a horizon that belong together.
enum class Profile : std::uint8_t {
  kFast,   // 20 ms and 500 ms
  kSpec1,  // 1 s and 5 s, as the specification's loop
};

/// What the operator chose. A Config that load_config gave is valid; the
/// defaults are those of a host without any file.
struct Config {
  Profile profile = Profile::kFast;  // named last; other keys may differ
  Duration tick_period = std::chrono::milliseconds{20};
  // cgroup files and rescans.
  Duration slow_period = std::chrono::milliseconds{100};
  // What to put back is kept there; only root may write there.
  std::string run_directory = "/run/outrider";
  // Where the cgroup v2 tree is, where it is not at the host's usual mount;
  // empty: there.
  std::string cgroup_mount;
  ControlConfig control;
  SenseConfig sense;
  EdgeConfig edge;
  DiscoveryConfig discovery;
  // A loop that has not turned for so long has hung: limits go back.
  Duration hang_deadline = std::chrono::milliseconds{200};
  JournalConfig journal;
  PredictiveConfig predictive;
  int loop_priority = 1;  // SCHED_FIFO; 0: an ordinary thread
  std::uint32_t vm_count_max = 1024;
  EventBackend event_backend = EventBackend::kAuto;
  LogLevel log_level = LogLevel::kInfo;
  Policy policy;

  friend bool operator==(const Config&, const Config&) = default;
};

inline constexpr const char* kConfigDir = "/etc/outrider";

/// `base` with what the file says. `name` is what messages call the file.
/// Errors: "outrider.yaml:7: tick_period_ms: want 5..60000, got 2".
Result<Config> parse_config(std::string name, std::string_view text,
                            const Config& base);

/// `file`; or, if it is empty, `dir`/outrider.yaml where it exists and then
/// `dir`/conf.d/*.yaml in the order of their names. A later file overrides
/// single keys of an earlier one. Without any file: the defaults.
Result<Config> load_config(const std::string& file,
                           const std::string& dir = kConfigDir);

/// The effective configuration as YAML that parse_config accepts.
std::string dump_config(const Config& config);

}  // namespace outrider
