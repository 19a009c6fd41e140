// SPDX-License-Identifier: Apache-2.0
// Keeps host memory free ahead of what guests are about to touch. Pure: the
// same calls give the same Plans.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "agent/base/units.h"
#include "agent/core/memory_plan.h"
#include "agent/core/memory_policy.h"
#include "agent/core/memory_seat.h"
#include "agent/core/policy.h"
#include "agent/core/season_search.h"

namespace outrider {

/// The books of the host, as of the last tick.
struct MemoryBooks {
  HostMemoryInput host;
  Bytes host_share;   // for the host itself
  Bytes reserve;      // that the VMs are about to touch, all together
  Bytes short_of;     // what is free is less than both by so much
  Bytes outstanding;  // asked for, and not confirmed: not free yet
};

/// The reserve for memory is free memory of the host's: what all VMs are
/// foreseen to touch within the horizon is kept free, by taking idle memory
/// from guests, lowest class first, through their balloons. A guest gets back
/// what it is about to need before anything else is done.
///
/// Two phases: what is free is only what the host says is free, so what was
/// taken counts as soon as it is, and never because it was asked for.
/// Invariants, after every call: no balloon under its floor; one outstanding
/// request a VM; nothing is taken from a VM that is missing, migrating, short,
/// not learned yet, or was unwilling less than 30 s ago; missing figures of the
/// host take nothing.
class MemoryController {
 public:
  explicit MemoryController(Policy policy);

  /// In the place of one with that id, if there is one. Allocates.
  void add_vm(const MemoryFacts& facts);
  /// As MemorySeat::adopt.
  void adopt(VmId vm, Bytes baseline, Bytes target);
  /// Nothing of it is kept. Errors: none, of no such VM.
  void remove_vm(VmId vm);
  /// An operator's own choice for it: the least of this and the policy's holds.
  void set_mode(VmId vm, Mode mode);
  /// Likewise for all.
  void set_host_mode(Mode mode);

  /// What is to be set now. Valid until the next call. Allocates nothing.
  std::span<const MemoryAction> tick(const MemoryTickInput& input);
  /// An action that did not reach its QEMU, or was refused by it.
  void refuse(VmId vm, Instant now);
  /// All balloons as they were before Outrider. Valid until the next call.
  std::span<const MemoryAction> release(Instant now);
  /// Likewise of one VM's.
  std::span<const MemoryAction> release(VmId vm, Instant now);
  /// As Controller::ponder.
  bool ponder();

  /// Sorted by id.
  std::span<const std::unique_ptr<MemorySeat>> seats() const { return seats_; }
  /// nullptr: no such VM.
  const MemoryState* find(VmId vm) const;
  /// What its balloon left it before it was first set.
  Bytes baseline(VmId vm) const;
  const MemoryBooks& books() const { return books_; }
  const Policy& policy() const { return policy_; }

 private:
  MemorySeat* seat(VmId vm) const;
  void sense(const MemoryTickInput& input);
  void keep_books(const HostMemoryInput& host);
  void relieve(Instant now);
  void take(Instant now);
  void give(Instant now);

  Policy policy_;
  MemoryBooks books_;
  std::vector<std::unique_ptr<MemorySeat>> seats_;
  std::vector<MemorySeat*> donors_;  // scratch
  std::vector<MemoryAction> plan_;
  SeasonSearch search_;
  std::size_t pondered_ = 0;
  Instant short_at_{};
};

}  // namespace outrider
