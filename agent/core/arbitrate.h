// SPDX-License-Identifier: Apache-2.0
// Arbitration: who may hold how much when the host cannot give all that is
// asked for. Integers throughout, so that sums are exact.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "agent/base/units.h"

namespace outrider {

/// What one VM asks for. All in milli-CPU, none negative;
/// floor <= ceiling; need and reserve may be anything.
struct Claim {
  MilliCpus floor;
  MilliCpus ceiling;
  MilliCpus need;           // to hold now
  MilliCpus reserve;        // to set aside beyond that
  std::int64_t weight = 1;  // at least 1
  std::uint8_t rank = 0;    // class: 0 first; reserve is lent to higher ranks
};

/// What it gets. Invariant, over all: sum of (allocation - loan) + sum of
/// reserve <= capacity where the sum of floors is; sum of loan <= sum of
/// reserve; floor <= allocation - loan; allocation + reserve <= ceiling or
/// floor, whichever is more.
struct Share {
  MilliCpus allocation;  // loan included
  MilliCpus reserve;     // granted
  MilliCpus lent;        // of that reserve, to others
  MilliCpus loan;        // of the allocation, from others' reserves

  friend bool operator==(const Share&, const Share&) = default;
};

/// Invariant: none; it keeps scratch memory from call to call.
class Arbiter {
 public:
  /// Weighted max-min by progressive filling, O(n log n): floors first, then
  /// needs up to each ceiling, then reserves; what is still unmet of needs is
  /// lent from the reserves of lower ranks (a number: critical is 0, so batch
  /// borrows from everyone). Whole milli-CPUs; what rounding leaves goes to the
  /// first claims, in their order.
  /// Shape: `shares` is as long as `claims`. Errors: none; with floors above
  /// capacity every VM holds its floor and nothing more (a policy that allows
  /// this is refused before, see Controller). Allocates only when `claims`
  /// grows. Source: Bertsekas and Gallager, Data Networks, 6.5.2 (max-min
  /// fairness).
  void arbitrate(MilliCpus capacity, std::span<const Claim> claims,
                 std::span<Share> shares);

 private:
  struct Level {
    std::int64_t fill = 0;  // at which this claim is satisfied
    std::uint32_t index = 0;
  };
  std::vector<Level> levels_;  // scratch
};

}  // namespace outrider
