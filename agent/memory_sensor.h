// SPDX-License-Identifier: Apache-2.0
// The host-side eyes for memory: what the kernel says of the host's and of each
// VM's. Senses only: nothing is decided or written here.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/base/result.h"
#include "agent/base/units.h"
#include "agent/cgroup.h"
#include "agent/memory_files.h"
#include "agent/memory_limits.h"
#include "agent/memory_programs.h"
#include "agent/proc.h"
#include "agent/sys/fd.h"
#include "agent/vm.h"

namespace outrider {

/// The host. A group of figures that could not be read is missing.
struct HostMemory {
  std::optional<MemoryAmounts> amounts;
  std::optional<MemoryZones> zones;
  std::optional<MemoryActivity> activity;
  std::optional<MemoryPressure> pressure;  // missing: PSI is off
  // Reclaim, by limits, of cgroups that are no attached VM's: ancestors too.
  // Missing: not seen (MemorySensor::missing says why).
  std::optional<std::uint64_t> memcg_reclaims;
  std::optional<std::uint64_t> memcg_reclaim_ns;
  /// Times that a counter went back: differences across it mean nothing.
  std::uint32_t resets = 0;
};

/// One VM. All counters are cumulative; those of files count from the cgroup's
/// birth, those of BPF from attachment. Missing figures are never zeroes.
struct VmMemory {
  VmId id{};
  /// Its cgroup was removed: nothing more will be told of it. Detach it.
  bool is_gone = false;
  std::optional<Bytes> current;
  std::optional<Bytes> swap;  // memory.swap.current
  std::optional<MemoryPressure> pressure;
  std::optional<MemoryEvents> events;
  /// memory.stat of `stat_taken`, a second ago at most: reading it is dear.
  std::optional<MemoryStat> stat;
  Instant stat_taken{};

  // By BPF; missing where this is not seen.
  /// Pages, small or huge, that its vCPUs touched and KVM did not have mapped:
  /// the earliest sign of growth, and never an amount.
  std::optional<std::uint64_t> first_touches;
  /// Times and time that its own threads had to free memory of the host before
  /// they got some: the stall that is to be avoided.
  std::optional<std::uint64_t> direct_reclaims;
  std::optional<std::uint64_t> direct_reclaim_ns;
  /// Times and time that its cgroup, or one below, was reclaimed from: by its
  /// own threads at memory.high or memory.max, or by who writes to its files.
  std::optional<std::uint64_t> memcg_reclaims;
  std::optional<std::uint64_t> memcg_reclaim_ns;
  std::optional<std::uint64_t> memcg_reclaimed_pages;

  /// Times that a counter went back: differences across it mean nothing.
  std::uint32_t resets = 0;
};

/// Puts what the programs count for this VM into its row, as far as it is seen.
void fill_counters(const eyes_memory& counted, const MemorySees& sees,
                   VmMemory& vm);

struct MemorySample {
  Instant taken{};
  HostMemory host;
  std::vector<VmMemory> vms;  // sorted by id
};

struct MemoryPaces {
  Duration stat = std::chrono::seconds{1};  // memory.stat, of each VM
};

/// Reads /proc and the VMs' memory.* at up to 10 Hz, from descriptors that it
/// keeps, and without an allocation after `attach`.
///
/// Invariant: sample_.vms has a row for each of vms_, in the same order. A
/// descriptor is of the cgroup that was attached, never of a later one with its
/// name.
class MemorySensor {
 public:
  /// `proc` and `cgroups` (nullptr: none, the host alone is seen) must outlive
  /// the sensor. Errors: no meminfo.
  static Result<MemorySensor> open(const ProcRoot& proc,
                                   const CgroupTree* cgroups,
                                   MemoryPaces paces = {});
  MemorySensor(MemorySensor&&) noexcept;
  MemorySensor& operator=(MemorySensor&&) = delete;
  ~MemorySensor();

  /// Loads the BPF programs of memory, as far as this kernel takes them; those
  /// that it refuses are in `missing`. Some ms, so not before somebody wants
  /// them. Does nothing the second time.
  void load_programs();
  /// What cannot be seen on this host and why, for people.
  const std::vector<Error>& missing() const { return missing_; }

  /// Opens the VM's files: five descriptors. Errors: EEXIST; as those of
  /// find_memory_cgroup; EMFILE.
  Result<> attach(const Vm& vm);
  /// Errors: ENOENT not attached.
  Result<> detach(VmId vm);
  /// Valid until the next call of anything but `limits` and `cgroup_of`.
  const MemorySample& read(Instant now);
  /// Slow: some files for each level of the tree. Errors: ENOENT not attached;
  /// as those of read_memory_limits.
  Result<MemoryLimits> limits(VmId vm) const;
  /// Where its memory is charged to; empty: not attached.
  std::string_view cgroup_of(VmId vm) const;

 private:
  struct Watched {
    VmId id{};
    std::string cgroup;
    Fd current;
    Fd swap;      // not open without CONFIG_SWAP
    Fd pressure;  // not open without PSI
    Fd events;
    Fd stat;
    Instant next_stat{};
    // What its counters stood at last, through reads that failed.
    MemoryPressure last_pressure;
    MemoryEvents last_events;
    MemoryStat last_stat;
    pid_t pid = 0;
    std::uint32_t slot = 0;  // in the programs' figures; 0: none
  };
  struct FileText {
    std::string_view text;  // in buffer_
    int error = 0;          // errno; EFBIG: it does not fit
  };

  MemorySensor(const ProcRoot& proc, const CgroupTree* cgroups,
               MemoryPaces paces);
  Result<Watched> open_files(const Vm& vm) const;
  FileText read_kept(const Fd& file);
  void read_host(HostMemory& host);
  std::optional<MemoryZones> read_zones();
  void read_vm(Watched& watched, Instant now, VmMemory& vm);
  void read_stat(Watched& watched, Instant now, VmMemory& vm);
  void open_slot(Watched& watched);
  void read_counters();

  const ProcRoot* proc_;
  const CgroupTree* cgroups_;
  MemoryPaces paces_;
  Bytes page_{};
  Fd meminfo_;
  Fd vmstat_;
  Fd zoneinfo_;
  Fd pressure_;
  MemoryActivity last_activity_;
  MemoryPressure last_pressure_;
  std::vector<Watched> vms_;  // sorted by id
  MemorySample sample_;
  std::vector<Error> missing_;
  std::unique_ptr<MemoryPrograms> programs_;  // nullptr: not loaded
  // The longest file that is read whole: vmstat, 4.6 KiB on 6.18.
  std::array<char, 16UL * 1024> buffer_{};
};

}  // namespace outrider
