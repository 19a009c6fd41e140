// SPDX-License-Identifier: Apache-2.0
// What is seen of memory, and what is to be done about it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "agent/base/units.h"

namespace outrider {

/// What a guest says of itself through its balloon; it may lie. Counters are
/// cumulative.
struct GuestMemory {
  Bytes total;      // that its kernel manages
  Bytes available;  // of it, without swapping
  std::uint64_t major_faults = 0;
  Bytes swapped_in;
  Bytes swapped_out;
  Duration age{};  // of these figures

  friend bool operator==(const GuestMemory&, const GuestMemory&) = default;
};

/// Why nothing may be taken from a guest, whatever the policy says.
enum class Fixed : std::uint8_t {
  kNo,
  kLocked,     // its memory is locked: what a balloon frees stays locked
  kDevice,     // a device of the host's reaches into it (VFIO)
  kHugePages,  // of a pool that nobody else can use
};

/// One VM's figures of one tick.
struct MemoryInput {
  VmId vm{};
  bool missing = false;  // nothing was seen of its cgroup
  Bytes resident;        // that the host charges to it
  Bytes swapped;         // that the host has swapped out
  Bytes size;            // that the guest was given; 0: not known
  Bytes balloon;         // that the balloon leaves it; 0: there is none
  Fixed fixed = Fixed::kNo;
  bool is_migrating = false;
  bool is_resizing = false;  // an operator gives it another size
  std::optional<GuestMemory> guest{};
  // Cumulative: pages of its cgroup that were needed soon after they had been
  // reclaimed.
  std::uint64_t refaults = 0;

  friend bool operator==(const MemoryInput&, const MemoryInput&) = default;
};

struct HostMemoryInput {
  bool missing = false;
  Bytes total;
  Bytes available;  // without reclaim that anybody would wait for

  friend bool operator==(const HostMemoryInput&,
                         const HostMemoryInput&) = default;
};

/// Invariant: `vms` is sorted by id.
struct MemoryTickInput {
  Instant now{};
  HostMemoryInput host;
  std::span<const MemoryInput> vms;
};

enum class MemoryReason : std::uint8_t {
  kReserve,    // less is free than others are about to touch
  kDistress,   // the guest is short
  kDemand,     // the guest is about to need it
  kSurplus,    // nobody has needed it for a while
  kWithdrawn,  // the guest did not move: it need not any more
  kReleased,   // the balloon is as it was before Outrider
};

/// The word for it, for people and programs.
std::string_view to_text(MemoryReason reason);
std::string_view to_text(Fixed fixed);

/// One absolute setting: the balloon is to leave the guest `value`.
struct MemoryAction {
  VmId vm{};
  MemoryReason reason = MemoryReason::kReserve;
  Bytes value;
  Bytes old;  // what it leaves it now

  friend bool operator==(const MemoryAction&, const MemoryAction&) = default;
};

}  // namespace outrider
