// SPDX-License-Identifier: Apache-2.0
// Policy: the numbers that an operator chose, and what follows from them for
// one VM. Pure: reading them from files is the shell's work.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "agent/base/result.h"
#include "agent/base/units.h"

namespace outrider {

enum class VmClass : std::uint8_t {
  kCritical,
  kProduction,
  kDevelopment,
  kBatch,
};
inline constexpr std::size_t kVmClasses = 4;

/// In rising order: what holds for a VM is the least of what its host, the
/// resource and the VM itself are set to.
enum class Mode : std::uint8_t {
  kObserve,  // watch and forecast
  kAdvise,   // decide and record, write nothing
  kEnforce,  // write
};

/// How the target follows from the forecast.
enum class ScalingPolicy : std::uint8_t {
  kFixed,         // present demand + a fixed amount
  kProportional,  // the forecast's median times a factor
  kQuantile,      // one quantile of the forecast, the same for every VM
  kCost,          // the quantile that the class's prices ask for
};

enum class Split : std::uint8_t {
  kPooled,  // one cap for the VM: its vCPUs share it
  kEqual,   // as well one cap for each vCPU, an equal part
};

enum class OnVmExit : std::uint8_t {
  kSuspend,    // what was learned waits for the VM's UUID to come back
  kTerminate,  // it is dropped
};

/// Ratios are in thousandths (permille), so that sums stay exact.
struct ClassPolicy {
  std::int64_t weight = 100;                // 1..10000, as cpu.weight
  std::int64_t floor_permille = 0;          // of the VM's vCPUs
  std::int64_t ceiling_permille = 1500;     // of the VM's vCPUs
  std::int64_t overcommit_permille = 1000;  // of floors against capacity
  // The newsvendor rule: hold the stalled / (stalled + reserved) quantile.
  std::int64_t price_stalled = 19;
  std::int64_t price_reserved = 1;
  bool idle = false;  // cpu.idle where VMs are siblings

  friend bool operator==(const ClassPolicy&, const ClassPolicy&) = default;
};

struct CpuPolicy {
  Mode mode = Mode::kEnforce;  // of this resource
  Split split = Split::kPooled;
  Duration cap_period = std::chrono::milliseconds{100};  // of cpu.max
  Duration burst = std::chrono::milliseconds{10};        // cpu.max.burst, most
  // What the cap itself holds where edges and a reserve stand behind it; from
  // there to the class's quantile is the reserve's.
  std::int64_t cap_quantile_permille = 800;
  MilliCpus host_share{100};              // kept free for the host itself
  std::int64_t dead_band_permille = 100;  // changes below it are not made
  MilliCpus dead_band{50};                // nor those below this
  Duration lower_after = std::chrono::milliseconds{10};  // it was needed last
  std::int64_t lower_step_permille = 1000;  // of the cap, at most, in one step
  std::int64_t writes_per_minute = 120;  // a VM; lowering waits, never raising
  bool weights = true;                   // set cpu.weight and cpu.idle

  friend bool operator==(const CpuPolicy&, const CpuPolicy&) = default;
};

/// The shadow of each VM (spec/1).
struct ShadowPolicy {
  Duration prediction_horizon = std::chrono::milliseconds{500};
  Duration reserve_horizon = std::chrono::seconds{5};
  MilliCpus pre_allocation_threshold{50};  // smaller differences ask nothing
  MilliCpus base{0};                       // ShadowVM_BaseResources
  ScalingPolicy scaling = ScalingPolicy::kCost;
  MilliCpus fixed_extra{200};            // kFixed
  std::int64_t factor_permille = 1200;   // kProportional
  std::int64_t quantile_permille = 950;  // kQuantile
  OnVmExit on_vm_exit = OnVmExit::kSuspend;
  bool forecast = true;  // false: the last window's demand alone (to compare)

  friend bool operator==(const ShadowPolicy&, const ShadowPolicy&) = default;
};

/// What a class means for memory.
struct MemoryClassPolicy {
  std::int64_t floor_permille = 500;  // of the guest's memory: never taken
  bool balloon = true;                // the rest may be, while it lies idle

  friend bool operator==(const MemoryClassPolicy&,
                         const MemoryClassPolicy&) = default;
};

/// How host memory is kept free ahead of what guests are about to touch.
struct MemoryPolicy {
  Mode mode = Mode::kObserve;                        // of this resource
  Duration period = std::chrono::milliseconds{100};  // between two decisions
  // What guests may touch in this time is kept free. 2 to 12 s.
  Duration horizon = std::chrono::seconds{10};
  std::int64_t host_share_permille = 30;  // of the host's memory, for itself
  Bytes take_per_second{std::int64_t{128} << 20};  // from one guest, at most
  // Of a guest's memory: so much is left available to it.
  std::int64_t guest_spare_permille = 100;
  Duration confirm = std::chrono::seconds{5};  // in which a guest is to move
  Duration learn = std::chrono::seconds{30};   // before the first is taken
  Duration give_after = std::chrono::seconds{30};  // that nothing was short
  // In the order of VmClass.
  std::array<MemoryClassPolicy, kVmClasses> classes = {
      MemoryClassPolicy{.floor_permille = 1000, .balloon = false},
      MemoryClassPolicy{.floor_permille = 500},
      MemoryClassPolicy{.floor_permille = 250},
      MemoryClassPolicy{.floor_permille = 100}};

  friend bool operator==(const MemoryPolicy&, const MemoryPolicy&) = default;
};

/// What an operator chose for the VMs that `match` names: the first rule that
/// matches counts. -1: as the class says.
struct VmRule {
  std::string match;  // UUID, or name with * and ?
  VmClass vm_class = VmClass::kProduction;
  Mode mode = Mode::kEnforce;
  MilliCpus floor{-1};
  MilliCpus ceiling{-1};
  std::int64_t weight = -1;
  Bytes memory_floor{-1};
  std::int8_t balloon = -1;  // 0: nothing is taken from it; 1: it may be

  friend bool operator==(const VmRule&, const VmRule&) = default;
};

struct Policy {
  Mode mode = Mode::kObserve;  // of the host
  CpuPolicy cpu;
  MemoryPolicy memory;
  ShadowPolicy shadow;
  // In the order of VmClass.
  std::array<ClassPolicy, kVmClasses> classes = {
      ClassPolicy{.weight = 800,
                  .floor_permille = 200,
                  .price_stalled = 99,
                  .price_reserved = 1},
      ClassPolicy{.weight = 400,
                  .floor_permille = 100,
                  .overcommit_permille = 2000,
                  .price_stalled = 19,
                  .price_reserved = 1},
      ClassPolicy{.weight = 100,
                  .floor_permille = 50,
                  .overcommit_permille = 4000,
                  .price_stalled = 4,
                  .price_reserved = 1},
      ClassPolicy{.weight = 10,
                  .floor_permille = 20,
                  .overcommit_permille = 8000,
                  .price_stalled = 1,
                  .price_reserved = 1}};
  VmClass default_class = VmClass::kProduction;
  std::vector<VmRule> vms;

  friend bool operator==(const Policy&, const Policy&) = default;
};

inline constexpr MilliCpus kNoCap{-1};  // cpu.max "max"

/// What the controller is told of a VM when it comes.
struct VmFacts {
  VmId id{};
  std::string name{};
  std::string uuid{};               // empty: unknown
  std::int64_t vcpus = 1;           // at least 1
  MilliCpus baseline_cap = kNoCap;  // of the VM's own cgroup, before Outrider
  bool has_cap = true;              // false: no cgroup of its own to cap

  friend bool operator==(const VmFacts&, const VmFacts&) = default;
};

/// What holds for one VM. Invariant: least_cap <= floor <= ceiling.
struct VmPolicy {
  VmClass vm_class = VmClass::kProduction;
  Mode mode = Mode::kObserve;
  MilliCpus floor{};
  MilliCpus ceiling{};
  std::int64_t weight = 100;
  std::int64_t quantile_permille = 950;  // what the prices ask for
  bool idle = false;

  friend bool operator==(const VmPolicy&, const VmPolicy&) = default;
};

/// The least that the kernel takes: 1 ms of quota; of a period of 100 ms 1 %,
/// of shorter ones more. Rounded up. Errors: none, of a period above 0.
MilliCpus least_cap(Duration cap_period);

/// The first rule whose `match` is the VM's UUID, in either case, or is a
/// pattern of its name; else the default class. A VM whose owner had capped it
/// is never given more than that, unless a rule names a ceiling: its floor goes
/// down to the cap. A floor that a rule names lifts the class's ceiling, but no
/// ceiling that a rule names. A VM without a cap of its own is observed.
/// Errors: none, of prices of which one is above 0.
/// Properties (each has a test): keeps the invariant of VmPolicy; never above
/// the owner's cap, but for what the kernel takes at least.
VmPolicy resolve(const Policy& policy, const VmFacts& vm);

/// The first rule that names the VM; nullptr: none does.
const VmRule* find_rule(const Policy& policy, std::string_view name,
                        std::string_view uuid);

/// True if `text` is what `pattern` says: * is any text, ? any one character,
/// all else itself. At most pattern times text steps.
bool matches(std::string_view pattern, std::string_view text);

}  // namespace outrider
