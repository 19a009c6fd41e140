// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "agent/base/result.h"
#include "agent/bpf_sensor.h"
#include "agent/config.h"
#include "agent/core/sample.h"
#include "agent/discovery.h"
#include "agent/file_sensor.h"
#include "agent/proc.h"
#include "agent/sys/event_loop.h"
#include "agent/throttle.h"
#include "agent/vm.h"

namespace outrider {

/// Something this host cannot give, and what that costs.
struct Degradation {
  std::string what;  // e.g. "kvm tracepoints"
  std::string cost;  // e.g. "no exits; vCPUs are found by thread name"
};

/// The VMs that are attached, and the sensor that they are attached to: BPF, or
/// files where BPF is not to be had.
/// Invariant: once open, bpf_ or files_ is set, and has just the VMs of vms_.
class AttachedVms {
 public:
  /// All of them must outlive it. `cgroups` may be nullptr.
  struct World {
    const ProcRoot& proc;
    const CgroupTree* cgroups = nullptr;
    EventLoop& events;
    std::function<void(pid_t)> on_new_process;  // it entered its first guest
    std::function<void(const Vm&)> on_came;     // it is attached, or moved
    std::function<void(VmId)> on_gone;          // about to be detached
    std::function<void(const SensorEvent&)> on_edge;
  };
  AttachedVms(const Config& config, World world)
      : config_(config), world_(std::move(world)) {}

  /// Opens the sensor. Errors: as configured, none can be had.
  Result<> open();
  /// Opens it anew if the kvm module has been loaded since: its tracepoints
  /// come with it. True if so. Errors: as of `open`.
  Result<bool> follow_kvm();

  const std::vector<Vm>& vms() const { return vms_; }  // sorted by id
  bool has(const VmIdentity& identity) const;
  const Vm* find(VmId id) const;
  /// Errors: the process is gone; no room.
  Result<VmId> add(const VmIdentity& identity);
  void remove(VmId id, const char* why);

  /// Takes up what the kernel has told since; also done as it tells.
  void take_events();
  /// Reads the eyes now; valid until the next call.
  const Sample& sample();
  const Sample& last_sample() const;
  /// At the slow pace: throttling, and VMs that were moved to other cgroups.
  void read_cgroups();
  /// Some syscalls an entry: once a second is enough.
  void read_blame();

  bool is_bpf() const { return bpf_ != nullptr; }
  void forget_process(pid_t pid);
  const std::vector<Degradation>& degraded() const { return degraded_; }
  std::uint64_t edges() const { return edges_; }
  std::size_t thread_slots() const;
  std::size_t table_entries() const;

 private:
  Result<> open_bpf();
  void open_files();
  Result<> connect(const Vm& vm);
  Result<> connect_bpf(const Vm& vm);
  Result<> watch_end(const Vm& vm);
  void forget_end(VmId id);
  void adopt_threads(const Vm& vm, const std::vector<pid_t>& tasks);
  void read_throttling_of(const Vm& vm);
  void set_edges(const Vm& vm);
  void follow_move(Vm& vm);
  void on_event(const SensorEvent& event);
  void on_kernel_thread(const SensorEvent& event);

  const Config& config_;
  World world_;
  std::unique_ptr<BpfSensor> bpf_;
  std::unique_ptr<FileSensor> files_;
  std::map<VmId, ProcessWatch> ends_;  // of each VM
  std::uint64_t open_files_max_ = 0;
  ThrottleReader throttle_;
  std::vector<Vm> vms_;
  std::vector<VmId> moved_;  // to be identified anew at the slow pace
  std::vector<Degradation> degraded_;
  std::function<void(const SensorEvent&)> handle_event_;
  std::uint32_t last_id_ = 0;
  std::uint64_t edges_ = 0;
};

}  // namespace outrider
