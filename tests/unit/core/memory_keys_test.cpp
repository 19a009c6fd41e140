// SPDX-License-Identifier: Apache-2.0
// One test for each key of the configuration that says how memory is kept
// free: two values of it lead to two outcomes. As policy_keys_test.cpp.
#include <gtest/gtest.h>

#include "tests/unit/core/memory_host.h"

namespace outrider {
namespace {

using std::chrono::seconds;

/// What the batch guest was asked to give by a time, and when it was first.
struct Asked {
  Bytes least_left = mib(1 << 20);
  Bytes step_most;
  double first = 1e9;
  std::uint64_t times = 0;
};

Asked ask(const Policy& policy, double until, SimGuest batch = batch_guest()) {
  SimMemoryHost host(mib(1536), {ramp_guest(), std::move(batch)});
  MemoryController controller = controller_of(policy);
  Asked asked;
  while (host.seconds() < until) {
    const auto plan = controller.tick(host.next());
    for (const MemoryAction& action : plan) {
      if (action.reason != MemoryReason::kReserve) continue;
      asked.first = std::min(asked.first, host.seconds());
      asked.least_left = std::min(asked.least_left, action.value);
      asked.step_most = std::max(asked.step_most, action.old - action.value);
      ++asked.times;
    }
    host.apply(plan);
  }
  return asked;
}

Asked ask_with(const std::function<void(Policy&)>& change, double until = 100) {
  Policy policy = memory_enforcing();
  change(policy);
  return ask(policy, until);
}

TEST(MemoryKeys, Mode) {
  EXPECT_GT(ask_with([](Policy&) {}).times, 0U);
  const auto off = [](Policy& p) { p.memory.mode = Mode::kObserve; };
  EXPECT_EQ(ask_with(off).times, 0U);
}

// 40 MiB a second for 2 s are 80, for 12 s 480: before the ramp has gone on.
TEST(MemoryKeys, Horizon) {
  const auto of = [](std::int64_t horizon) {
    return ask_with([=](Policy& p) { p.memory.horizon = seconds{horizon}; },
                    65);
  };
  EXPECT_GT(of(2).least_left, of(12).least_left);
}

TEST(MemoryKeys, HostShare) {
  const auto of = [](std::int64_t share) {
    return ask_with([=](Policy& p) { p.memory.host_share_permille = share; },
                    55);
  };
  EXPECT_GT(of(0).least_left, of(200).least_left);
}

TEST(MemoryKeys, TakePerSecond) {
  const auto of = [](std::int64_t most) {
    return ask_with([=](Policy& p) { p.memory.take_per_second = mib(most); });
  };
  EXPECT_LE(of(16).step_most, mib(16));
  EXPECT_GT(of(128).step_most, mib(64));
}

// It uses 200 MiB, and 10 % of 1 GiB are 102 more; its floor is below both.
TEST(MemoryKeys, GuestSpare) {
  const auto of = [](std::int64_t spare) {
    return ask_with([=](Policy& p) { p.memory.guest_spare_permille = spare; })
        .least_left;
  };
  EXPECT_GE(of(500), mib(700));
  EXPECT_LT(of(100), mib(650));
}

// Who moves within 3 s is unwilling only to who waits for one.
TEST(MemoryKeys, Confirm) {
  const auto refusals = [](std::int64_t confirm) {
    SimGuest slow = batch_guest();
    slow.per_tick = Bytes{kMebibyte.count() / 2};
    Policy policy = memory_enforcing();
    policy.memory.confirm = seconds{confirm};
    SimMemoryHost host(mib(1536), {ramp_guest(), slow});
    MemoryController controller = controller_of(policy);
    run(host, controller, 100);
    return controller.find(kBatch)->refused;
  };
  EXPECT_GT(refusals(1), 0U);
  EXPECT_EQ(refusals(20), 0U);
}

TEST(MemoryKeys, Learn) {
  const auto of = [](std::int64_t learn) {
    return ask_with([=](Policy& p) {
             p.memory.learn = seconds{learn};
             p.memory.host_share_permille = 200;  // short from the start
           })
        .first;
  };
  EXPECT_LT(of(0), 2);
  EXPECT_GE(of(40), 40);
}

TEST(MemoryKeys, GiveAfter) {
  const auto given = [](std::int64_t after) {
    Policy policy = memory_enforcing();
    policy.memory.give_after = seconds{after};
    SimMemoryHost host(mib(1536), {ramp_guest(), batch_guest()});
    MemoryController controller = controller_of(policy);
    run(host, controller, 100);
    host.guests()[0].used = [](double) { return mib(64); };
    host.guests()[0].touched = mib(64);
    host.guests()[0].size = host.guests()[0].balloon = mib(65);
    const Bytes before = host.guests()[1].target;
    run(host, controller, 120);
    return host.guests()[1].target > before;
  };
  EXPECT_TRUE(given(5));
  EXPECT_FALSE(given(300));
}

TEST(MemoryKeys, ClassFloor) {
  for (std::size_t i = 0; i < kVmClasses; ++i) {
    SCOPED_TRACE(i);
    const auto of = [i](std::int64_t floor) {
      return ask_with([=](Policy& p) {
               p.vms[1].vm_class = static_cast<VmClass>(i);
               p.memory.classes[i] = {.floor_permille = floor, .balloon = true};
             })
          .least_left;
    };
    EXPECT_GE(of(800), mib(800));
    EXPECT_LT(of(100), mib(800));
  }
}

TEST(MemoryKeys, ClassBalloon) {
  for (std::size_t i = 0; i < kVmClasses; ++i) {
    SCOPED_TRACE(i);
    const auto times = [i](bool balloon) {
      return ask_with([=](Policy& p) {
               p.vms[1].vm_class = static_cast<VmClass>(i);
               p.memory.classes[i] = {.floor_permille = 100,
                                      .balloon = balloon};
             })
          .times;
    };
    EXPECT_GT(times(true), 0U);
    EXPECT_EQ(times(false), 0U);
  }
}

TEST(MemoryKeys, VmFloor) {
  const auto of = [](Bytes floor) {
    return ask_with([=](Policy& p) { p.vms[1].memory_floor = floor; })
        .least_left;
  };
  EXPECT_GE(of(mib(900)), mib(900));
  EXPECT_LT(of(Bytes{-1}), mib(900));
}

TEST(MemoryKeys, VmBalloon) {
  const auto times = [](std::int8_t balloon) {
    return ask_with([=](Policy& p) { p.vms[1].balloon = balloon; }).times;
  };
  EXPECT_GT(times(1), 0U);
  EXPECT_EQ(times(0), 0U);
}

}  // namespace
}  // namespace outrider
