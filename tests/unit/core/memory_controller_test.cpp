// SPDX-License-Identifier: Apache-2.0
#include "agent/core/memory_controller.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

#include "tests/unit/core/allocations.h"
#include "tests/unit/core/memory_host.h"

namespace outrider {
namespace {

// 1536 MiB, of which 1376 are held: 160 are free, and 768 are to be touched.
TEST(MemoryController, TakesIdleMemoryBeforeOthersTouchIt) {
  SimMemoryHost host(mib(1536), {ramp_guest(), batch_guest()});
  MemoryController controller = controller_of(memory_enforcing());
  const Seen seen = run(host, controller, 100);
  EXPECT_GT(seen.least_available, mib(0));
  EXPECT_EQ(host.guests()[0].wants, mib(1024));
  EXPECT_EQ(host.guests()[0].swapped, 0U);
  EXPECT_EQ(host.guests()[1].swapped, 0U);
  EXPECT_GE(controller.find(kBatch)->taken, mib(400));
}

TEST(MemoryController, WithoutItTheSameHostRunsOut) {
  SimMemoryHost host(mib(1536), {ramp_guest(), batch_guest()});
  Policy policy = memory_enforcing();
  policy.memory.mode = Mode::kObserve;
  MemoryController controller = controller_of(policy);
  const Seen seen = run(host, controller, 100);
  EXPECT_LT(seen.least_available, mib(0));
  EXPECT_EQ(seen.actions, 0U);
}

TEST(MemoryController, TakesNothingWhereNothingIsShort) {
  SimMemoryHost host(mib(8192), {ramp_guest(), batch_guest()});
  MemoryController controller = controller_of(memory_enforcing());
  EXPECT_EQ(run(host, controller, 100).actions, 0U);
}

TEST(MemoryController, GivesBackAllAtOnceToWhoIsShort) {
  SimGuest batch = batch_guest();
  batch.used = [](double seconds) {
    return seconds < 80 ? mib(200) : mib(900);
  };
  SimMemoryHost host(mib(1536), {ramp_guest(), batch});
  MemoryController controller = controller_of(memory_enforcing());
  run(host, controller, 80);
  ASSERT_LT(host.guests()[1].balloon, mib(900));
  run(host, controller, 80.2);
  EXPECT_EQ(host.guests()[1].target, mib(1024));
  EXPECT_EQ(controller.find(kBatch)->distressed, 1U);
  // And is left alone for a while, whatever the host may want.
  run(host, controller, 100);
  EXPECT_EQ(host.guests()[1].target, mib(1024));
}

TEST(MemoryController, GivesBackWhatNobodyNeedsAnyMore) {
  SimGuest ramping = ramp_guest();
  SimMemoryHost host(mib(1536), {ramping, batch_guest()});
  MemoryController controller = controller_of(memory_enforcing());
  run(host, controller, 100);
  ASSERT_LT(host.guests()[1].target, mib(1024));
  // The ramp's guest ends, and with it what it held.
  host.guests()[0].used = [](double) { return mib(64); };
  host.guests()[0].touched = mib(64);
  host.guests()[0].size = host.guests()[0].balloon = mib(65);
  run(host, controller, 400);
  EXPECT_EQ(host.guests()[1].target, mib(1024));
}

TEST(MemoryController, AsksAnUnwillingGuestOnceIn30Seconds) {
  SimGuest batch = batch_guest();
  batch.obeys = false;
  SimMemoryHost host(mib(1536), {ramp_guest(), batch});
  MemoryController controller = controller_of(memory_enforcing());
  std::vector<double> asked;
  while (host.seconds() < 600) {
    const auto plan = controller.tick(host.next());
    // What it does not give is not in the books as free.
    EXPECT_EQ(controller.books().host.available, host.available());
    for (const MemoryAction& action : plan) {
      if (action.vm == kBatch && action.reason == MemoryReason::kReserve) {
        asked.push_back(host.seconds());
      }
    }
    host.apply(plan);
  }
  ASSERT_GE(asked.size(), 3U);
  for (std::size_t i = 1; i < asked.size(); ++i) {
    EXPECT_GE(asked[i] - asked[i - 1], 30);
  }
  EXPECT_EQ(controller.find(kBatch)->taken, mib(0));
  EXPECT_GE(controller.find(kBatch)->refused, asked.size() - 1);
  // And it need not do so later, when nobody looks any more.
  EXPECT_EQ(host.guests()[1].target, mib(1024));
}

// A look each ten seconds, so that it is not days of them.
TEST(MemoryController, TheBooksAreRightIn500TriesInVain) {
  SimGuest batch = batch_guest();
  batch.obeys = false;
  SimMemoryHost host(mib(1536), {ramp_guest(), batch});
  Policy policy = memory_enforcing();
  policy.memory.host_share_permille = 900;  // there is always a shortage
  MemoryController controller = controller_of(policy);
  Instant now{};
  Instant asked_at{};
  std::uint64_t asked = 0;
  while (asked < 500 && now < Instant{} + std::chrono::hours{24 * 7}) {
    now += std::chrono::seconds{10};
    MemoryTickInput input = host.next();
    input.now = now;
    for (const MemoryAction& action : controller.tick(input)) {
      if (action.vm != kBatch || action.reason != MemoryReason::kReserve) {
        continue;
      }
      EXPECT_TRUE(asked == 0 || now - asked_at >= std::chrono::seconds{30});
      ++asked;
      asked_at = now;
    }
    const MemoryState& state = *controller.find(kBatch);
    ASSERT_EQ(state.taken, mib(0));
    ASSERT_EQ(state.asked, asked);
    ASSERT_LE(asked - state.refused, 1U) << "one is out at most";
    ASSERT_EQ(controller.books().host.available, host.available());
    const bool is_out = state.cooperation == Cooperation::kAsked;
    ASSERT_TRUE(is_out || controller.books().outstanding == mib(0));
  }
  EXPECT_EQ(asked, 500U);
}

TEST(MemoryController, ARefusalByQemuIsNoMoreThanThat) {
  SimMemoryHost host(mib(1536), {ramp_guest(), batch_guest()});
  MemoryController controller = controller_of(memory_enforcing());
  int asked = 0;
  while (host.seconds() < 100) {
    for (const MemoryAction& action : controller.tick(host.next())) {
      asked += action.reason == MemoryReason::kReserve ? 1 : 0;
      controller.refuse(action.vm, host.now());
    }
    EXPECT_EQ(controller.books().outstanding, mib(0));
  }
  EXPECT_GE(asked, 1);
  EXPECT_LE(asked, 3);  // at 5, 35 and 95 seconds, or later
}

TEST(MemoryController, WhoIsFixedForbiddenOrSilentGivesNothing) {
  for (const int kind : {0, 1, 2, 3}) {
    SCOPED_TRACE(kind);
    SimGuest batch = batch_guest();
    Policy policy = memory_enforcing();
    if (kind == 0) batch.fixed = Fixed::kLocked;
    if (kind == 1) policy.vms[1].balloon = 0;
    if (kind == 2) batch.tells = false;
    if (kind == 3) policy.vms[1].mode = Mode::kObserve;
    SimMemoryHost host(mib(1536), {ramp_guest(), batch});
    MemoryController controller = controller_of(policy);
    run(host, controller, 100);
    EXPECT_EQ(host.guests()[1].target, mib(1024));
  }
}

TEST(MemoryController, AdviceIsGivenAndNobodyIsBlamedForIt) {
  Policy policy = memory_enforcing();
  policy.memory.mode = Mode::kAdvise;
  SimMemoryHost host(mib(1536), {ramp_guest(), batch_guest()});
  MemoryController controller = controller_of(policy);
  std::uint64_t advised = 0;
  while (host.seconds() < 100) advised += controller.tick(host.next()).size();
  EXPECT_GE(advised, 3U);
  EXPECT_LE(advised, 30U);
  EXPECT_EQ(controller.find(kBatch)->refused, 0U);
}

TEST(MemoryController, ReleasesWhatItTookAndNothingElse) {
  SimMemoryHost host(mib(1536), {ramp_guest(), batch_guest()});
  MemoryController controller = controller_of(memory_enforcing());
  run(host, controller, 100);
  const auto plan = controller.release(host.now());
  ASSERT_EQ(plan.size(), 1U);
  EXPECT_EQ(plan[0].vm, kBatch);
  EXPECT_EQ(plan[0].value, mib(1024));
  EXPECT_EQ(plan[0].reason, MemoryReason::kReleased);
  EXPECT_TRUE(controller.release(host.now()).empty());
}

TEST(MemoryController, GrowthWithoutEndIsSaidToBeALeak) {
  SimGuest leaking = ramp_guest();
  leaking.used = [](double seconds) {
    return mib(256 + static_cast<std::int64_t>(seconds / 10));
  };
  SimMemoryHost host(mib(8192), {leaking, batch_guest()});
  MemoryController controller = controller_of(memory_enforcing());
  run(host, controller, 1200);
  EXPECT_FALSE(controller.find(kRamp)->leaks);
  run(host, controller, 2400);
  EXPECT_TRUE(controller.find(kRamp)->leaks);
  EXPECT_FALSE(controller.find(kBatch)->leaks);
}

TEST(MemoryController, ATickAllocatesNothing) {
  SimMemoryHost host(mib(1536), {ramp_guest(), batch_guest()});
  MemoryController controller = controller_of(memory_enforcing());
  std::uint64_t allocated = 0;
  while (host.seconds() < 100) {
    const MemoryTickInput input = host.next();
    const std::uint64_t before = allocations();
    const auto plan = controller.tick(input);
    allocated += allocations() - before;
    host.apply(plan);
  }
  EXPECT_EQ(allocated, 0U);
}

/// What no guest, host or accident may bring about.
class Checker {
 public:
  void check(const MemoryController& controller, const MemoryTickInput& input,
             std::span<const MemoryAction> plan) {
    for (const MemoryAction& action : plan) {
      const MemoryState& state = *controller.find(action.vm);
      const bool takes = action.reason == MemoryReason::kReserve;
      EXPECT_GE(action.value, state.policy.floor_of(state.seen.size));
      EXPECT_LE(action.value, state.seen.size);
      EXPECT_TRUE(state.policy.mode == Mode::kEnforce);
      if (!takes) continue;
      EXPECT_FALSE(input.host.missing);
      EXPECT_FALSE(state.missing);
      EXPECT_FALSE(state.seen.is_migrating);
      EXPECT_TRUE(state.seen.fixed == Fixed::kNo);
      EXPECT_LT(action.value, action.old);
      EXPECT_LE(action.old - action.value, mib(128));
    }
  }
};

MemoryTickInput spoil(MemoryTickInput input, std::vector<MemoryInput>& vms,
                      std::mt19937& random) {
  vms.assign(input.vms.begin(), input.vms.end());
  const auto chance = [&random](unsigned in) { return random() % in == 0; };
  for (MemoryInput& vm : vms) {
    vm.missing = chance(20);
    vm.is_migrating = chance(20);
    if (chance(10)) vm.guest.reset();
    if (chance(50)) vm.balloon = {};
    if (chance(50)) vm.refaults += 5;
    if (chance(20) && vm.guest) {
      vm.guest->available = Bytes{static_cast<std::int64_t>(random()) << 9U};
    }
    if (chance(20) && vm.guest) vm.guest->age = std::chrono::seconds{30};
  }
  if (chance(50) && !vms.empty()) vms.pop_back();
  input.host.missing = chance(20);
  input.vms = vms;
  return input;
}

TEST(MemoryController, KeepsItsPromisesWhateverItIsTold) {
  for (unsigned seed = 0; seed < 40; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    SimGuest batch = batch_guest();
    batch.obeys = seed % 3 != 0;
    if (seed % 4 == 1) batch.lie = [](Bytes) { return mib(1 << 20); };
    if (seed % 4 == 2) batch.lie = [](Bytes) { return Bytes{-5}; };
    SimMemoryHost host(mib(1536), {ramp_guest(), batch});
    MemoryController controller = controller_of(memory_enforcing());
    Checker checker;
    std::vector<MemoryInput> vms;
    while (host.seconds() < 120) {
      const MemoryTickInput input = spoil(host.next(), vms, random);
      const auto plan = controller.tick(input);
      checker.check(controller, input, plan);
      if (random() % 4 == 0) {
        for (const MemoryAction& action : plan) {
          controller.refuse(action.vm, host.now());
        }
      } else {
        host.apply(plan);
      }
    }
  }
}

TEST(MemoryController, TheSameIsDecidedAgain) {
  for (int again = 0; again < 2; ++again) {
    static std::vector<MemoryAction> first;
    std::vector<MemoryAction> all;
    SimMemoryHost host(mib(1536), {ramp_guest(), batch_guest()});
    MemoryController controller = controller_of(memory_enforcing());
    while (host.seconds() < 100) {
      const auto plan = controller.tick(host.next());
      all.insert(all.end(), plan.begin(), plan.end());
      host.apply(plan);
      controller.ponder();
    }
    if (again == 0) first = all;
    EXPECT_EQ(first, all);
  }
}

}  // namespace
}  // namespace outrider
