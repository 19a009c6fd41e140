// SPDX-License-Identifier: Apache-2.0
// Guests that an operator has told to become larger or smaller.
#pragma once

#include <map>
#include <memory>
#include <optional>

#include "agent/base/result.h"
#include "agent/guest_link.h"
#include "agent/guest_resize.h"
#include "agent/memory_control.h"
#include "agent/proc.h"
#include "agent/sys/event_loop.h"
#include "agent/vm.h"

namespace outrider {

/// While one is under way, nothing is taken from the guest, and its balloon is
/// given back first what Outrider had taken. A monitor serves one client: the
/// link that memory has already is used, and else one is opened for as long as
/// it takes.
/// Invariant: at most one resize a VM.
class Resizes {
 public:
  struct World {
    const ProcRoot& proc;
    EventLoop& events;
    MemoryControl& memory;
  };
  explicit Resizes(World world) : world_(world) {}

  /// Errors: EBUSY one is under way; as GuestLink::make.
  Result<> start(const Vm& vm, const ResizeOptions& options);
  /// Of the last one; nullptr: there was none.
  const ResizeProgress* find(VmId vm) const;
  void gone(VmId vm);
  /// What is under way is left where it is.
  void stop();

 private:
  struct Job {
    GuestLink* link = nullptr;
    std::unique_ptr<GuestLink> own;
    std::unique_ptr<GuestResize> resize;
    bool is_over = false;
  };

  Result<GuestLink*> link_for(const Vm& vm, Job& job);
  Result<> keep_time();
  void turn();
  void end(VmId vm, Job& job);

  World world_;
  std::unique_ptr<qmp::Clients> clients_;  // of the links of its own
  std::optional<PeriodicTimer> timer_;     // while any is under way
  std::map<VmId, Job> jobs_;
};

}  // namespace outrider
