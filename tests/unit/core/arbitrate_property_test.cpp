// SPDX-License-Identifier: Apache-2.0
// What holds of every arbitration, over random claims.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

#include "agent/core/arbitrate.h"

namespace outrider {
namespace {

constexpr std::uint32_t kSeeds = 3'000;

struct Case {
  std::int64_t capacity = 0;
  std::vector<Claim> claims;
  std::vector<Share> shares;

  void arbitrate() {
    shares.assign(claims.size(), Share{});
    Arbiter{}.arbitrate(MilliCpus{capacity}, claims, shares);
  }
  std::int64_t floors() const { return sum(&Claim::floor); }
  std::int64_t sum(MilliCpus Claim::*of) const {
    std::int64_t all = 0;
    for (const Claim& claim : claims) all += (claim.*of).count();
    return all;
  }
  std::int64_t sum(MilliCpus Share::*of) const {
    std::int64_t all = 0;
    for (const Share& share : shares) all += (share.*of).count();
    return all;
  }
};

std::int64_t want(const Claim& claim) {
  return std::max(claim.floor, std::min(claim.need, claim.ceiling)).count();
}

std::int64_t held_above_floor(const Case& random, std::size_t i) {
  return (random.shares[i].allocation - random.claims[i].floor).count();
}

// Small figures as often as large ones: ties and rounding are where faults are.
Case random_case(std::uint32_t seed) {
  std::mt19937 random(seed);
  const auto below = [&random](std::int64_t n) {
    return static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(n));
  };
  const std::int64_t size = below(2) == 0 ? 20 : 20'000;
  const std::int64_t weight_max = below(2) == 0 ? 3 : 10'000;
  Case made;
  made.claims.resize(static_cast<std::size_t>(1 + below(24)));
  for (Claim& claim : made.claims) {
    claim.floor = MilliCpus{below(3) == 0 ? 0 : below(size / 4)};
    claim.ceiling = claim.floor + MilliCpus{below(size)};
    claim.need = MilliCpus{below(2 * size)};
    claim.reserve = MilliCpus{below(3) == 0 ? 0 : below(size)};
    claim.weight = 1 + below(weight_max);
    claim.rank = static_cast<std::uint8_t>(below(4));
  }
  made.capacity =
      below(size * static_cast<std::int64_t>(made.claims.size()) + 1);
  made.arbitrate();
  return made;
}

TEST(ArbiterProperty, KeepsTheInvariantOfShare) {
  for (std::uint32_t seed = 0; seed < kSeeds; ++seed) {
    const Case random = random_case(seed);
    for (std::size_t i = 0; i < random.claims.size(); ++i) {
      const Claim& claim = random.claims[i];
      const Share& share = random.shares[i];
      ASSERT_GE(share.allocation - share.loan, claim.floor) << "seed " << seed;
      ASSERT_LE(share.allocation.count(), want(claim)) << "seed " << seed;
      ASSERT_LE(share.allocation + share.reserve,
                std::max(claim.ceiling, claim.floor))
          << "seed " << seed;
      ASSERT_LE(share.reserve, claim.reserve) << "seed " << seed;
      ASSERT_LE(share.lent, share.reserve) << "seed " << seed;
      ASSERT_GE(std::min({share.reserve, share.lent, share.loan}), MilliCpus{})
          << "seed " << seed;
    }
  }
}

TEST(ArbiterProperty, Conserves) {
  std::uint32_t above_capacity = 0;
  for (std::uint32_t seed = 0; seed < kSeeds; ++seed) {
    const Case random = random_case(seed);
    const std::int64_t held =
        random.sum(&Share::allocation) - random.sum(&Share::loan);
    ASSERT_EQ(random.sum(&Share::loan), random.sum(&Share::lent))
        << "seed " << seed;
    if (random.floors() > random.capacity) {
      ++above_capacity;
      ASSERT_EQ(random.sum(&Share::allocation), random.floors())
          << "seed " << seed;
      ASSERT_EQ(random.sum(&Share::reserve), 0) << "seed " << seed;
    } else {
      ASSERT_LE(held + random.sum(&Share::reserve), random.capacity)
          << "seed " << seed;
    }
  }
  EXPECT_GT(above_capacity, kSeeds / 50);  // both arms were seen
  EXPECT_LT(above_capacity, kSeeds / 2);
}

TEST(ArbiterProperty, LeavesNothingIdle) {
  for (std::uint32_t seed = 0; seed < kSeeds; ++seed) {
    const Case random = random_case(seed);
    std::int64_t needs = 0;
    std::int64_t reserves = 0;
    for (std::size_t i = 0; i < random.claims.size(); ++i) {
      const Claim& claim = random.claims[i];
      needs += want(claim);
      reserves +=
          std::clamp((claim.ceiling - random.shares[i].allocation).count(),
                     std::int64_t{0}, claim.reserve.count());
    }
    const std::int64_t allocated =
        std::max(random.floors(), std::min(random.capacity, needs));
    ASSERT_EQ(random.sum(&Share::allocation), allocated) << "seed " << seed;
    // What is free goes to reserves, as far as they are asked for.
    const std::int64_t free =
        std::max<std::int64_t>(0, random.capacity - allocated);
    ASSERT_EQ(random.sum(&Share::reserve) - random.sum(&Share::lent),
              std::min(free, reserves))
        << "seed " << seed;
  }
}

// No claim with an unmet need has less for its weight than one that holds more
// than its floor: rounding took less than 1 of the one, and gave at most 1 to
// the other.
TEST(ArbiterProperty, IsFairWithinRounding) {
  std::uint32_t pairs = 0;
  for (std::uint32_t seed = 0; seed < kSeeds; ++seed) {
    const Case random = random_case(seed);
    for (std::size_t i = 0; i < random.claims.size(); ++i) {
      if (random.shares[i].allocation.count() == want(random.claims[i])) {
        continue;
      }
      for (std::size_t j = 0; j < random.claims.size(); ++j) {
        const std::int64_t other = held_above_floor(random, j);
        if (j == i || other == 0) continue;
        ++pairs;
        const std::int64_t mine = held_above_floor(random, i);
        ASSERT_LT((other - 1) * random.claims[i].weight,
                  (mine + 1) * random.claims[j].weight)
            << "seed " << seed << " claims " << i << " and " << j;
      }
    }
  }
  EXPECT_GT(pairs, kSeeds);
}

// Within 1: what rounding leaves may go to somebody else.
TEST(ArbiterProperty, IsMonotoneInWeightWithin1) {
  std::uint32_t rose = 0;
  for (std::uint32_t seed = 0; seed < kSeeds; ++seed) {
    Case random = random_case(seed);
    const std::size_t i = seed % random.claims.size();
    const Share before = random.shares[i];
    random.claims[i].weight = 1 + 3 * random.claims[i].weight;
    random.arbitrate();
    ASSERT_GE(random.shares[i].allocation.count(),
              before.allocation.count() - 1)
        << "seed " << seed;
    if (random.shares[i].allocation > before.allocation) ++rose;
  }
  EXPECT_GT(rose, kSeeds / 20);
}

// For each rank: what it and those below it owe is not more than what is lent
// by ranks below it, strictly. And a reserve is short of what was asked only
// where nothing above a floor in a higher rank is unlent.
TEST(ArbiterProperty, LendsToHigherRanksOnlyAndAllThatMayBeLent) {
  std::uint32_t lending = 0;
  for (std::uint32_t seed = 0; seed < kSeeds; ++seed) {
    const Case random = random_case(seed);
    for (std::uint8_t rank = 0; rank < 4; ++rank) {
      std::int64_t owed = 0;
      std::int64_t lent = 0;
      std::int64_t unlent_behind = 0;
      bool short_of_reserve = false;
      for (std::size_t i = 0; i < random.claims.size(); ++i) {
        const Claim& claim = random.claims[i];
        const Share& share = random.shares[i];
        if (claim.rank <= rank) owed += share.loan.count();
        if (claim.rank < rank) lent += share.lent.count();
        if (claim.rank > rank) {
          unlent_behind += held_above_floor(random, i) - share.loan.count();
        }
        const MilliCpus room = claim.ceiling - share.allocation;
        short_of_reserve |=
            claim.rank == rank && share.reserve < std::min(claim.reserve, room);
      }
      ASSERT_LE(owed, lent) << "seed " << seed;
      ASSERT_FALSE(short_of_reserve && unlent_behind > 0) << "seed " << seed;
      if (lent > 0) ++lending;
    }
  }
  EXPECT_GT(lending, kSeeds / 10);
}

// The rank that owes is the highest that can: none below it owes while it has
// anything unlent.
TEST(ArbiterProperty, LendsToTheHighestRanksFirst) {
  for (std::uint32_t seed = 0; seed < kSeeds; ++seed) {
    const Case random = random_case(seed);
    std::uint8_t lowest_owing = 255;
    for (std::size_t i = 0; i < random.claims.size(); ++i) {
      if (random.shares[i].loan > MilliCpus{}) {
        lowest_owing = std::min(lowest_owing, random.claims[i].rank);
      }
    }
    for (std::size_t i = 0; i < random.claims.size(); ++i) {
      if (random.claims[i].rank <= lowest_owing) continue;
      ASSERT_EQ(held_above_floor(random, i), random.shares[i].loan.count())
          << "seed " << seed << " claim " << i;
    }
  }
}

}  // namespace
}  // namespace outrider
