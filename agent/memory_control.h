// SPDX-License-Identifier: Apache-2.0
// Closes the loop for memory: what the host and the guests say to the
// MemoryController, and its Plans to the guests' balloons.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "agent/balloon_book.h"
#include "agent/base/result.h"
#include "agent/cgroup.h"
#include "agent/config.h"
#include "agent/core/memory_controller.h"
#include "agent/guest_link.h"
#include "agent/memory_sensor.h"
#include "agent/proc.h"
#include "agent/sys/event_loop.h"
#include "agent/vm.h"

namespace outrider {

/// The last time a guest's balloon was set, for people.
struct LastBalloon {
  MemoryAction action;
  Instant at{};
  bool is_advice = false;
  std::string refusal;  // empty: QEMU took it
};

/// Memory is watched as long as the policy's mode of memory is not observe: a
/// QMP monitor serves one client, so none is opened before somebody asks.
/// Invariant: the controller and the sensor have the same VMs; each of them has
/// a link, or a word why not.
class MemoryControl {
 public:
  struct World {
    const ProcRoot& proc;
    const CgroupTree* cgroups = nullptr;  // nullptr: nothing can be seen
    EventLoop& events;
  };
  MemoryControl(const Config& config, World world);

  /// What stands in the way is in `cannot`; then nothing is done.
  void start();
  void came(const Vm& vm);
  void gone(VmId vm);
  /// Acts when a period has passed.
  void tick(Instant now);
  /// As MemoryController::ponder.
  bool ponder() { return sensor_ && controller_.ponder(); }
  /// All balloons as they were, as far as the guests' QEMUs answer within a
  /// second. After it nothing is set.
  void stop();

  void set_mode(Mode mode);
  void set_mode(VmId vm, Mode mode);
  /// In migration, or not any more: then nothing is taken from it.
  void set_migrating(VmId vm, bool is_migrating);
  /// Likewise while an operator gives it another size. What its balloon holds
  /// of Outrider's is given back.
  void set_resizing(VmId vm, bool is_resizing);

  bool is_on() const { return sensor_.has_value(); }
  /// Empty: it is on, or nobody asked for it.
  const std::string& cannot() const { return cannot_; }
  const MemoryController& controller() const { return controller_; }
  /// What the host saw of it last; nullptr: nothing.
  const VmMemory* seen(VmId vm) const;
  /// nullptr: it has none; `missing_link` says why.
  const GuestLink* link(VmId vm) const;
  GuestLink* link(VmId vm);
  std::string missing_link(VmId vm) const;
  /// Of what it was set to; none: nothing was.
  std::optional<LastBalloon> last_balloon(VmId vm) const;
  /// Errors: as MemorySensor::limits.
  Result<MemoryLimits> limits(VmId vm) const;

 private:
  struct Known {
    Vm vm;
    std::unique_ptr<GuestLink> link;
    std::string missing;  // why there is none
    std::optional<LastBalloon> last;
    bool is_migrating = false;
    bool is_resizing = false;
    bool complained = false;
  };

  void open_link(Known& known);
  GuestLink::Pace pace_of(VmId vm) const;
  void fill_inputs(const MemorySample& sample);
  void carry_out(std::span<const MemoryAction> plan, Instant now);
  void set_balloon(Known& known, const MemoryAction& action);
  Result<> note_held(const Known& known, const MemoryAction& action);
  void drop_note(VmId vm);
  void note_refusal(VmId vm, const Error& error);
  void put_back(std::span<const MemoryAction> plan, Instant now);
  void release_all();
  void release(VmId vm);
  bool is_enforced(VmId vm) const;

  World world_;
  const Policy& policy_;
  const std::string& run_directory_;
  MemoryController controller_;
  std::optional<MemorySensor> sensor_;
  std::unique_ptr<qmp::Clients> clients_;
  std::optional<BalloonBook> book_;
  std::map<VmId, Known> known_;
  std::vector<MemoryInput> inputs_;
  const MemorySample* sample_ = nullptr;  // the sensor's own
  std::string cannot_;
  Instant due_{};
  std::uint32_t unconfirmed_ = 0;  // settings whose reply is to come
};

}  // namespace outrider
