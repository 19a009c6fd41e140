// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "agent/attached_vms.h"
#include "agent/base/result.h"
#include "agent/config.h"
#include "agent/core/demand.h"
#include "agent/core/sample.h"
#include "agent/cpu_control.h"
#include "agent/memory_control.h"
#include "agent/resizes.h"
#include "agent/sys/event_loop.h"
#include "agent/vm.h"

namespace outrider {

struct AttachRequest {
  pid_t pid = 0;
  std::string cgroup;  // empty: the process's own
  std::string name;    // empty: as identified
};

struct AgentStatus {
  std::string version;
  std::string sensor;  // "bpf" or "files"
  std::vector<Degradation> degraded;
  Duration uptime{};
  std::uint64_t ticks = 0;
  std::uint64_t ticks_skipped = 0;
  std::uint64_t edges = 0;
  std::uint64_t lost = 0;         // threads, VMs and events that did not fit
  std::size_t thread_slots = 0;   // in use, of the eyes' memory
  std::size_t table_entries = 0;  // in use, of the programs' own tables
  Duration own_cpu{};             // the loop thread's run time
};

/// What `outriderd` does between its doors: senses, discovers, keeps the VMs,
/// and moves their limits where it is told to enforce.
/// Invariant: every VM in vms() is attached to the sensor, and the other way
/// round. All calls are on the loop thread.
class Agent {
 public:
  static Result<std::unique_ptr<Agent>> make(const Config& config);
  ~Agent();

  const std::vector<Vm>& vms() const;  // sorted by id
  /// By name, UUID or number; nullptr when there is none.
  const Vm* find(std::string_view name) const;

  /// Errors: no such process; not a KVM process; attached already; no room.
  Result<VmId> attach(const AttachRequest& request);
  Result<> detach(VmId vm);

  /// Reads the eyes now. Valid until the next call.
  const Sample& sample();
  /// Demand over the last whole second.
  const Demand& demand() const;
  AgentStatus status() const;
  CpuControl& cpu();
  MemoryControl& memory();
  Resizes& resizes();

  /// For the doors: what is watched here is served by `run`.
  EventLoop& events();
  /// The loop: returns after SIGTERM or SIGINT, with all limits put back.
  Result<> run();

 private:
  class Loop;
  explicit Agent(std::unique_ptr<Loop> loop);
  std::unique_ptr<Loop> loop_;
};

}  // namespace outrider
