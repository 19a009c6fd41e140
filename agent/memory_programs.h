// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "agent/base/result.h"
#include "agent/bpf_sensor.h"
#include "bpf/memory_records.h"

namespace outrider {

/// What of struct eyes_memory is counted on this kernel.
struct MemorySees {
  bool first_touches = false;
  bool direct_reclaims = false;  // and their time
  bool memcg_reclaims = false;   // and their time and pages

  friend bool operator==(const MemorySees&, const MemorySees&) = default;
};

/// The BPF programs of memory, apart from those of the scheduler: who wants no
/// memory sensed does not load them.
/// Invariant: what `sees` says is attached as long as the object lives; a slot
/// that was given out is no one else's until it is closed.
class MemoryPrograms {
 public:
  /// Loads what this kernel takes, in pairs where two belong together; what it
  /// refuses is in `missing`. Errors: no BPF, no CAP_BPF.
  static Result<std::unique_ptr<MemoryPrograms>> load();
  ~MemoryPrograms();

  const MemorySees& sees() const { return sees_; }
  const std::vector<MissingProgram>& missing() const { return missing_; }

  /// Counts for this process and these cgroups from now on; gives the slot.
  /// Errors: all slots are taken; no room for a cgroup.
  Result<std::uint32_t> open(pid_t tgid,
                             std::span<const std::uint64_t> cgroup_ids);
  void close(std::uint32_t slot);
  /// Slot 0 has the reclaim of cgroups that nobody opened. Moving meanwhile.
  eyes_memory at(std::uint32_t slot) const;

 private:
  struct Loaded;
  explicit MemoryPrograms(std::unique_ptr<Loaded> loaded);
  void attach();
  bool reach(std::uint32_t slot);

  std::unique_ptr<Loaded> loaded_;
  MemorySees sees_;
  std::vector<MissingProgram> missing_;
};

/// For `outrider doctor`.
std::vector<ProgramVerdict> probe_memory_programs();

}  // namespace outrider
