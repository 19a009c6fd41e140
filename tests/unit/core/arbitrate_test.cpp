// SPDX-License-Identifier: Apache-2.0
#include "agent/core/arbitrate.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

#include "tests/unit/core/allocations.h"

namespace outrider {
namespace {

struct Asked {
  std::int64_t floor = 0;
  std::int64_t ceiling = 10'000;
  std::int64_t need = 0;
  std::int64_t reserve = 0;
  std::int64_t weight = 1;
  std::uint8_t rank = 0;
};

Claim claim_of(const Asked& asked) {
  return {.floor = MilliCpus{asked.floor},
          .ceiling = MilliCpus{asked.ceiling},
          .need = MilliCpus{asked.need},
          .reserve = MilliCpus{asked.reserve},
          .weight = asked.weight,
          .rank = asked.rank};
}

std::vector<Share> shares_of(std::int64_t capacity,
                             const std::vector<Asked>& asked) {
  std::vector<Claim> claims;
  for (const Asked& one : asked) claims.push_back(claim_of(one));
  std::vector<Share> shares(claims.size());
  Arbiter{}.arbitrate(MilliCpus{capacity}, claims, shares);
  return shares;
}

Share share(std::int64_t allocation, std::int64_t reserve = 0,
            std::int64_t lent = 0, std::int64_t loan = 0) {
  return {.allocation = MilliCpus{allocation},
          .reserve = MilliCpus{reserve},
          .lent = MilliCpus{lent},
          .loan = MilliCpus{loan}};
}

using Shares = std::vector<Share>;

TEST(Arbiter, TakesNoClaimsAtAll) { EXPECT_EQ(shares_of(1000, {}), Shares{}); }

TEST(Arbiter, GivesAllThatIsAskedForWhereThereIsEnough) {
  // 300 + 500 held, 200 + 100 set aside: 1100 of 4000.
  EXPECT_EQ(shares_of(4000, {{.need = 300, .reserve = 200},
                             {.need = 500, .reserve = 100}}),
            (Shares{share(300, 200), share(500, 100)}));
}

TEST(Arbiter, SharesAShortageByWeight) {
  // 900 for weights 1 and 2.
  EXPECT_EQ(shares_of(900, {{.need = 5000}, {.need = 5000, .weight = 2}}),
            (Shares{share(300), share(600)}));
}

TEST(Arbiter, GivesToTheOthersWhatOneDoesNotNeed) {
  // Levels 100, 400, 400 at weight 1: 100 is met; (1000 - 100) / 2 = 450 would
  // be more than the 400 needed, so all of 900 is met. With 700: 300 each.
  const std::vector<Asked> asked = {
      {.need = 400}, {.need = 100}, {.need = 400}};
  EXPECT_EQ(shares_of(1000, asked),
            (Shares{share(400), share(100), share(400)}));
  EXPECT_EQ(shares_of(700, asked),
            (Shares{share(300), share(100), share(300)}));
}

TEST(Arbiter, FillsFromTheFloorsOn) {
  // 1000 - 300 - 100 = 600 above the floors, in halves.
  EXPECT_EQ(shares_of(1000, {{.floor = 300, .need = 5000},
                             {.floor = 100, .need = 5000}}),
            (Shares{share(600), share(400)}));
}

TEST(Arbiter, HoldsFloorsThatNobodyNeeds) {
  // 200 stays with the first; 800 for the second.
  EXPECT_EQ(shares_of(1000, {{.floor = 200, .need = 50}, {.need = 5000}}),
            (Shares{share(200), share(800)}));
}

TEST(Arbiter, HoldsFloorsAboveCapacityAndGivesNothingMore) {
  EXPECT_EQ(shares_of(500, {{.floor = 400, .need = 5000, .reserve = 100},
                            {.floor = 300, .need = 10}}),
            (Shares{share(400), share(300)}));
}

TEST(Arbiter, GivesNothingButFloorsWithoutCapacity) {
  EXPECT_EQ(shares_of(0, {{.need = 100, .reserve = 100},
                          {.floor = 20, .need = 100, .rank = 3}}),
            (Shares{share(0), share(20)}));
}

TEST(Arbiter, StopsAtCeilings) {
  // The first holds its ceiling and has no room for a reserve; the second has
  // 700 - 500 = 200 of room.
  EXPECT_EQ(shares_of(9000, {{.ceiling = 600, .need = 800, .reserve = 300},
                             {.ceiling = 700, .need = 500, .reserve = 300}}),
            (Shares{share(600), share(500, 200)}));
}

TEST(Arbiter, SharesWhatIsLeftAmongReservesByWeight) {
  // 1000 - 2 x 200 = 600 for reserves, weights 1 and 3.
  EXPECT_EQ(shares_of(1000, {{.need = 200, .reserve = 900},
                             {.need = 200, .reserve = 900, .weight = 3}}),
            (Shares{share(200, 150), share(200, 450)}));
}

TEST(Arbiter, GivesWhatRoundingLeavesToTheFirst) {
  // 100 / 3 = 33, and 1 over; 101 / 3 = 33, and 2 over.
  const std::vector<Asked> three = {
      {.need = 900}, {.need = 900}, {.need = 900}};
  EXPECT_EQ(shares_of(100, three), (Shares{share(34), share(33), share(33)}));
  EXPECT_EQ(shares_of(101, three), (Shares{share(34), share(34), share(33)}));
}

TEST(Arbiter, GrantsAReserveOnWhatHigherRanksHold) {
  // Needs take all of 1000: 300 and 700. The reserve of 400 stands on batch's
  // 700, which keeps them.
  EXPECT_EQ(shares_of(1000, {{.need = 300, .reserve = 400},
                             {.need = 700, .rank = 3}}),
            (Shares{share(300, 400, 400), share(700, 0, 0, 400)}));
}

TEST(Arbiter, LendsOnlyTheReserveThatTookNoFreeCapacity) {
  // 1200 - 1000 = 200 are free; the other 200 of the reserve are lent.
  EXPECT_EQ(shares_of(1200, {{.need = 300, .reserve = 400},
                             {.need = 700, .rank = 3}}),
            (Shares{share(300, 400, 200), share(700, 0, 0, 200)}));
}

TEST(Arbiter, LendsNothingToItsOwnRankOrALowerOne) {
  // Rank 2's reserve may stand on neither rank 2 nor rank 1.
  EXPECT_EQ(shares_of(900, {{.need = 300, .reserve = 400, .rank = 2},
                            {.need = 300, .rank = 2},
                            {.need = 300, .rank = 1}}),
            (Shares{share(300), share(300), share(300)}));
}

TEST(Arbiter, LeavesFloorsOutOfLoans) {
  // Batch holds 700, 600 of it its floor: 100 can be taken back.
  EXPECT_EQ(shares_of(1000, {{.need = 300, .reserve = 400},
                             {.floor = 600, .need = 700, .rank = 3}}),
            (Shares{share(300, 100, 100), share(700, 0, 0, 100)}));
}

TEST(Arbiter, LendsFirstToTheHighestRankAndInProportion) {
  // The reserve of 500: 300 of rank 3 first, all of it; then 200 of rank 2's
  // 100 + 300, as 1 : 3.
  EXPECT_EQ(shares_of(1000, {{.need = 300, .reserve = 500},
                             {.need = 100, .rank = 2},
                             {.need = 300, .rank = 2},
                             {.need = 300, .rank = 3}}),
            (Shares{share(300, 500, 500), share(100, 0, 0, 50),
                    share(300, 0, 0, 150), share(300, 0, 0, 300)}));
}

TEST(Arbiter, LetsTheFirstBorrowWhatRoundingLeaves) {
  // 100 of 3 x 200: 33 each, and 1 over.
  const std::vector<Share> shares =
      shares_of(700, {{.need = 100, .reserve = 100},
                      {.need = 200, .rank = 3},
                      {.need = 200, .rank = 3},
                      {.need = 200, .rank = 3}});
  EXPECT_EQ(shares, (Shares{share(100, 100, 100), share(200, 0, 0, 34),
                            share(200, 0, 0, 33), share(200, 0, 0, 33)}));
}

TEST(Arbiter, ServesTheReservesOfLowerRanksFirst) {
  // Batch holds 400. Critical's 300 stand on it; of the 100 that are left,
  // production's two reserves get 25 and 75, by weight.
  EXPECT_EQ(
      shares_of(700, {{.need = 100, .reserve = 300},
                      {.need = 100, .reserve = 900, .rank = 1},
                      {.need = 100, .reserve = 900, .weight = 3, .rank = 1},
                      {.need = 400, .rank = 3}}),
      (Shares{share(100, 300, 300), share(100, 25, 25), share(100, 75, 75),
              share(400, 0, 0, 400)}));
}

TEST(Arbiter, IsExactWithTheLargestFigures) {
  // 10,000 claims that want everything, of 10^9: 10^5 each. All figures but
  // the capacity as large as they come.
  constexpr std::int64_t kMost = INT64_MAX;
  std::vector<Asked> asked(10'000, {.ceiling = kMost,
                                    .need = kMost,
                                    .reserve = kMost,
                                    .weight = kMost / 10'000});
  for (const Share& one : shares_of(1'000'000'000, asked)) {
    EXPECT_EQ(one, share(100'000));
  }
  // One that wants 1, at a weight of 1 against 2^62: 1000 - 1 for the other,
  // though 1000 x 1 / (2^62 + 1) is nothing.
  EXPECT_EQ(
      shares_of(
          1000,
          {{.ceiling = kMost, .need = kMost, .weight = std::int64_t{1} << 62},
           {.need = 1}}),
      (Shares{share(1000), share(0)}));
}

TEST(Arbiter, AllocatesNothingWhenWarm) {
  std::vector<Claim> claims(1000);
  for (std::uint32_t i = 0; i < claims.size(); ++i) {
    claims[i] = claim_of({.floor = i % 7,
                          .need = 100 + i % 900,
                          .reserve = 50 + i % 300,
                          .weight = 1 + i % 800,
                          .rank = static_cast<std::uint8_t>(i % 4)});
  }
  std::vector<Share> shares(claims.size());
  Arbiter arbiter;
  arbiter.arbitrate(MilliCpus{64'000}, claims, shares);
  const std::size_t before = allocations();
  EXPECT_GT(before, 0U);  // the counter counts
  for (std::int64_t capacity = 0; capacity < 1'000'000; capacity += 50'000) {
    arbiter.arbitrate(MilliCpus{capacity}, claims, shares);
  }
  EXPECT_EQ(allocations(), before);
}

}  // namespace
}  // namespace outrider
