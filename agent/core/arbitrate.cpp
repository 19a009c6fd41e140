// SPDX-License-Identifier: Apache-2.0
#include "agent/core/arbitrate.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cstddef>

namespace outrider {
namespace {

// Products of two figures are compared exactly, whatever the figures.
__extension__ using Wide = __int128;

using ByRank = std::array<std::int64_t, kRanks>;

// `part` of `whole`, as `of` is of `all`, rounded up.
std::int64_t scaled_up(std::int64_t part, std::int64_t of, std::int64_t all) {
  return static_cast<std::int64_t>((Wide{part} * of + all - 1) / all);
}

std::int64_t give_floors(std::span<const Claim> claims,
                         std::span<Share> shares) {
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < claims.size(); ++i) {
    assert(claims[i].weight >= 1 && claims[i].rank < kRanks);
    shares[i] = Share{.allocation = claims[i].floor};
    sum += claims[i].floor.count();
  }
  return sum;
}

// Takes `sum` from the highest ranks behind `rank`.
void take(std::int64_t sum, std::size_t rank, ByRank& held, ByRank& taken) {
  for (std::size_t r = kRanks - 1; r > rank && sum > 0; --r) {
    const std::int64_t piece = std::min(sum, held[r]);
    held[r] -= piece;
    taken[r] += piece;
    sum -= piece;
  }
}

// What is held above the floors, by rank.
ByRank held_by_rank(std::span<const Claim> claims,
                    std::span<const Share> shares) {
  ByRank held{};
  for (std::size_t i = 0; i < claims.size(); ++i) {
    held[claims[i].rank] += (shares[i].allocation - claims[i].floor).count();
  }
  return held;
}

// Divides each rank's debt in proportion to what is held above the floor. The
// debts of a rank's first k claims are the first k's part rounded up, so that
// they sum to the whole and none is more than its claim holds.
void owe(const ByRank& debts, const ByRank& held, std::span<const Claim> claims,
         std::span<Share> shares) {
  ByRank held_so_far{};
  ByRank owed_so_far{};
  for (std::size_t i = 0; i < claims.size(); ++i) {
    const std::size_t rank = claims[i].rank;
    if (debts[rank] == 0) continue;
    held_so_far[rank] += (shares[i].allocation - claims[i].floor).count();
    const std::int64_t owed =
        scaled_up(debts[rank], held_so_far[rank], held[rank]);
    shares[i].loan = MilliCpus{owed - owed_so_far[rank]};
    owed_so_far[rank] = owed;
  }
}

}  // namespace

// Satisfied at a lower level. A type, not a function: so it is inlined.
struct Arbiter::Below {
  bool operator()(const Ask& a, const Ask& b) const {
    return Wide{a.gap} * b.weight < Wide{b.gap} * a.weight;
  }
};

// Progressive filling: in rising order of the level, gap / weight, at which a
// claim is satisfied, until what is left no longer satisfies all the rest at
// the next one's level; the rest stop at one level. Where that is, is found by
// halving, not by sorting: past that point less and less is left for each
// weight, so each further claim gives the same answer. Levels rise, so no
// product here passes the largest gap times the weights. Returns what it gave.
std::int64_t Arbiter::fill(std::int64_t pool, std::span<Ask> asks) {
  Wide gaps = 0;
  std::int64_t weights = 0;
  for (Ask& ask : asks) {
    gaps += ask.gap;
    weights += ask.weight;
    ask.given = ask.gap;
  }
  if (gaps <= pool) return static_cast<std::int64_t>(gaps);

  std::int64_t left = pool;
  std::span<Ask> open = asks;  // those before it are satisfied, those after not
  while (!open.empty()) {
    const std::size_t middle = open.size() / 2;
    std::ranges::nth_element(open, open.first(middle).end(), Below{});
    Wide left_then = left;
    std::int64_t weights_then = weights;
    for (const Ask& ask : open.first(middle)) {
      left_then -= ask.gap;
      weights_then -= ask.weight;
    }
    const Ask& next = open[middle];
    if (Wide{next.gap} * weights_then <= left_then * next.weight) {
      left = static_cast<std::int64_t>(left_then - next.gap);
      weights = weights_then - next.weight;
      open = open.subspan(middle + 1);
    } else {
      open = open.first(middle);
    }
  }

  const std::span<Ask> rest(open.data(), asks.data() + asks.size());
  const std::int64_t level = left;
  for (Ask& ask : rest) {
    // Below the gap, which is at a higher level: there is room for 1 more.
    ask.given = static_cast<std::int64_t>(Wide{level} * ask.weight / weights);
    left -= ask.given;
  }
  const std::span<Ask> first = rest.first(static_cast<std::size_t>(left));
  std::ranges::nth_element(rest, first.end(), {}, &Ask::index);
  for (Ask& ask : first) ++ask.given;
  return pool;
}

std::int64_t Arbiter::fill_needs(std::int64_t pool,
                                 std::span<const Claim> claims,
                                 std::span<Share> shares) {
  asks_.clear();
  for (std::uint32_t i = 0; i < claims.size(); ++i) {
    const Claim& claim = claims[i];
    const MilliCpus want = std::min(claim.need, claim.ceiling);
    if (want <= claim.floor) continue;
    asks_.push_back({.gap = (want - claim.floor).count(),
                     .weight = claim.weight,
                     .index = i});
  }
  const std::int64_t given = fill(pool, asks_);
  for (const Ask& ask : asks_) {
    shares[ask.index].allocation += MilliCpus{ask.given};
  }
  return given;
}

// What is missing of each reserve.
void Arbiter::ask_reserves(std::span<const Claim> claims,
                           std::span<const Share> shares) {
  asks_.clear();
  for (std::uint32_t i = 0; i < claims.size(); ++i) {
    const Claim& claim = claims[i];
    const MilliCpus want =
        std::min(claim.reserve, claim.ceiling - shares[i].allocation);
    if (want <= shares[i].reserve) continue;
    asks_.push_back({.gap = (want - shares[i].reserve).count(),
                     .weight = claim.weight,
                     .index = i,
                     .rank = claim.rank});
  }
}

void Arbiter::fill_reserves(std::int64_t pool, std::span<const Claim> claims,
                            std::span<Share> shares) {
  ask_reserves(claims, shares);
  fill(pool, asks_);
  for (const Ask& ask : asks_) {
    shares[ask.index].reserve = MilliCpus{ask.given};
  }
}

void Arbiter::lend(std::span<const Claim> claims, std::span<Share> shares) {
  ask_reserves(claims, shares);
  if (asks_.empty()) return;
  const ByRank held = held_by_rank(claims, shares);
  ByRank lendable = held;
  ByRank debts{};
  for (std::span<Ask> rest = asks_; !rest.empty();) {
    const std::uint8_t rank = std::ranges::min(rest, {}, &Ask::rank).rank;
    const auto others =
        std::partition(rest.begin(), rest.end(),
                       [rank](const Ask& ask) { return ask.rank == rank; });
    const auto count = static_cast<std::size_t>(others - rest.begin());
    const std::span<Ask> peers = rest.first(count);
    std::int64_t behind = 0;
    for (std::size_t r = rank + 1U; r < kRanks; ++r) behind += lendable[r];
    take(fill(behind, peers), rank, lendable, debts);
    for (const Ask& ask : peers) {
      shares[ask.index].reserve += MilliCpus{ask.given};
      shares[ask.index].lent = MilliCpus{ask.given};
    }
    rest = rest.subspan(count);
  }
  owe(debts, held, claims, shares);
}

void Arbiter::arbitrate(MilliCpus capacity, std::span<const Claim> claims,
                        std::span<Share> shares) {
  assert(claims.size() == shares.size());
  asks_.reserve(claims.size());
  std::int64_t left = capacity.count() - give_floors(claims, shares);
  if (left <= 0) return;
  left -= fill_needs(left, claims, shares);
  fill_reserves(left, claims, shares);
  lend(claims, shares);
}

}  // namespace outrider
