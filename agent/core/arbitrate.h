// SPDX-License-Identifier: Apache-2.0
// Arbitration: who may hold how much when the host cannot give all that is
// asked for. Integers throughout, so that sums are exact.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "agent/base/units.h"

namespace outrider {

inline constexpr std::size_t kRanks = 16;

/// What one VM asks for. All in milli-CPU, none negative;
/// floor <= ceiling; need and reserve may be anything.
struct Claim {
  MilliCpus floor{};
  MilliCpus ceiling{};
  MilliCpus need{};         // to hold now
  MilliCpus reserve{};      // to set aside beyond that
  std::int64_t weight = 1;  // at least 1
  std::uint8_t rank = 0;    // below kRanks; critical is 0
};

/// What it gets. Invariant, over all: sum of (allocation - loan) + sum of
/// reserve <= capacity where the sum of floors is; sum of loan = sum of lent;
/// lent <= reserve; floor <= allocation - loan; allocation + reserve <= ceiling
/// or floor, whichever is more.
struct Share {
  MilliCpus allocation{};  // loan included
  MilliCpus reserve{};     // granted
  MilliCpus lent{};        // of that reserve, to others
  MilliCpus loan{};        // of the allocation, from others' reserves

  friend bool operator==(const Share&, const Share&) = default;
};

/// Weighted max-min in four stages. Invariant: `asks_` is scratch, without
/// meaning between calls.
class Arbiter {
 public:
  /// 1. Floors: everybody's, always. 2. Needs up to each ceiling, by weighted
  /// max-min of what is held above the floors. 3. Reserves, likewise, of what
  /// is left. 4. What is missing of a reserve is granted on what higher ranks
  /// hold above their floors: they keep it, as a loan (so batch borrows from
  /// everyone and lends to nobody). Nothing that somebody needs lies idle, and
  /// what an important VM may take back is known. Lower ranks' reserves come
  /// first, by weight within a rank; the highest ranks borrow first, in
  /// proportion to what they hold.
  ///
  /// Whole milli-CPUs: what rounding leaves goes to the first claims, 1 each.
  /// Shape: `shares` is as long as `claims`. Errors: none; with floors above
  /// capacity every VM holds its floor and nothing more (a policy that allows
  /// this is refused before, see Controller). The floors, and the weights, must
  /// sum to less than 2^63. O(n log n) at worst, O(n) mostly; allocates only
  /// when `claims` grows.
  /// Properties (each has a test): keeps the invariant of Share, conserves,
  /// leaves nothing idle, is fair within rounding, is monotone in weight within
  /// 1, lends to higher ranks only.
  /// Source: Bertsekas and Gallager, Data Networks, 6.5.2 (max-min fairness).
  void arbitrate(MilliCpus capacity, std::span<const Claim> claims,
                 std::span<Share> shares);

 private:
  struct Ask {
    std::int64_t gap = 0;  // above 0: what would satisfy it
    std::int64_t weight = 1;
    std::int64_t given = 0;
    std::uint32_t index = 0;  // of the claim
    std::uint8_t rank = 0;
  };

  struct Below;
  static std::int64_t fill(std::int64_t pool, std::span<Ask> asks);
  std::int64_t fill_needs(std::int64_t pool, std::span<const Claim> claims,
                          std::span<Share> shares);
  void ask_reserves(std::span<const Claim> claims,
                    std::span<const Share> shares);
  void fill_reserves(std::int64_t pool, std::span<const Claim> claims,
                     std::span<Share> shares);
  void lend(std::span<const Claim> claims, std::span<Share> shares);

  std::vector<Ask> asks_;
};

}  // namespace outrider
