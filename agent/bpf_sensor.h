// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "agent/base/result.h"
#include "agent/core/sample.h"
#include "agent/slots.h"

namespace outrider {

struct SensorOptions {
  bool blame = true;
  std::uint32_t blame_sample = 8;  // one in N waits is looked at
  bool guest_time = false;
  bool edges = true;
};

/// What the kernel tells between two reads.
struct SensorEvent {
  enum class Kind : std::uint8_t {
    kNewVm,      // process `tgid` entered a guest and is no VM of ours
    kVmGone,     // the last thread of `vm` has exited
    kRenamed,    // thread `tid` of `vm` has a new name
    kMoved,      // thread `tid` of `vm` is in another cgroup
    kKthread,    // a thread of `vm` named kernel thread `tid`
    kQuotaEdge,  // `value` of quota is left to `vm`
    kWaitEdge,   // `vm` waited `value` within 10 ms
  };
  Kind kind{};
  VmId vm{};
  pid_t tid = 0;
  pid_t tgid = 0;
  Instant at{};
  Duration value{};
};

/// A program that this kernel refused, or has no tracepoint for.
struct MissingProgram {
  std::string name;
  std::string cost;  // what is not seen without it
};

/// The eyes: BPF programs on the scheduler's and KVM's tracepoints, and the
/// memory they share with us.
/// Invariant: the programs are attached as long as the object lives.
class BpfSensor : public Sensor {
 public:
  /// Loads what this kernel takes. Errors: no BTF, no CAP_BPF, or a program of
  /// the scheduler's is refused: without those there is nothing to see.
  static Result<std::unique_ptr<BpfSensor>> make(const SensorOptions& options);
  ~BpfSensor() override;

  const Sample& read(Instant now) override;
  /// The Sample that `read` gave, for what it does not fill in (throttling).
  Sample& sample() { return slots_->sample(); }
  Slots& slots() { return *slots_; }
  const std::vector<MissingProgram>& missing() const { return missing_; }
  /// False while the kvm module is not loaded: make another sensor when it is.
  bool sees_kvm() const { return sees_kvm_; }

  /// Readable when the kernel has something to tell.
  int event_fd() const;
  /// Calls `handle` for each event that is there.
  void take_events(const std::function<void(const SensorEvent&)>& handle);

  /// Reads the table of who held whose CPU, into the Samples from now on: some
  /// syscalls, so at the slow pace.
  void read_blame();
  /// Drops a VM that is gone from that table.
  void forget_blame(VmId vm);
  /// Drops a process that ended before it could be attached: kNewVm is told
  /// once a process.
  void forget_process(pid_t tgid);
  /// Entries in the programs' tables; they are bounded, and go with their VMs.
  std::size_t table_entries() const;

 private:
  struct Programs;
  explicit BpfSensor(std::unique_ptr<Programs> programs);
  Result<> connect();

  std::unique_ptr<Programs> programs_;
  std::unique_ptr<Slots> slots_;
  std::vector<MissingProgram> missing_;
  std::vector<BlameSample> blame_;
  bool blame_is_new_ = false;
  bool sees_kvm_ = false;
};

/// One BPF program and whether this kernel takes it; for `outrider doctor`.
struct ProgramVerdict {
  std::string name;
  std::string cost;  // what is not seen without it
  bool loads = false;
  bool wanted = true;  // false: another program is used in its place here
  std::string why;     // the kernel's words when it does not load
};
std::vector<ProgramVerdict> probe_programs();

}  // namespace outrider
