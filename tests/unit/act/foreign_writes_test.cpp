// SPDX-License-Identifier: Apache-2.0
#include "agent/foreign_writes.h"

#include <poll.h>

#include "tests/unit/act/act_fixture.h"
#include "tests/unit/shell/allocations.h"

namespace outrider {
namespace {

using std::chrono::milliseconds;
using Found = std::vector<ForeignWrite>;

class ForeignWritesTest : public ActTest {
 protected:
  void attach(std::uint32_t id, const std::string& cgroup) {
    auto found = hands_.attach(vm(id, cgroup), {});
    ASSERT_TRUE(found);
    ASSERT_TRUE(others_.watch(VmId{id}, found->cgroups));
  }
  Found take() {
    now_ += milliseconds{20};
    const auto found = others_.take(now_, hands_);
    return {found.begin(), found.end()};
  }
  static ForeignWrite wrote(std::uint32_t id, Knob knob, std::int64_t value) {
    return {.vm = VmId{id}, .knob = knob, .value = value};
  }

  CgroupActuator hands_{tree_, table_};
  ForeignWrites others_ = opened(ForeignWrites::make(tree_));
  Instant now_{std::chrono::hours{1}};
};

TEST_F(ForeignWritesTest, TellsOfAValueOnce) {
  attach(1, kLibvirt);
  apply_one(hands_, cap(1, 200));
  EXPECT_EQ(take(), Found{});
  put(kLibvirt, "cpu.max", "70000 100000");
  EXPECT_EQ(take(), (Found{wrote(1, Knob::kCpuMax, 700)}));
  put(kLibvirt, "cpu.max", "70000 100000");
  EXPECT_EQ(take(), Found{});
  put(kLibvirt, "cpu.max", "80000 100000");
  EXPECT_EQ(take(), (Found{wrote(1, Knob::kCpuMax, 800)}));
}

TEST_F(ForeignWritesTest, IsQuietUntilSomebodyElseWrites) {
  EXPECT_FALSE(others_.is_quiet(VmId{1}));  // it cannot know
  attach(1, kPlain);
  attach(2, kLibvirt);
  EXPECT_TRUE(others_.is_quiet(VmId{1}));
  apply_one(hands_, cap(1, 200));
  EXPECT_TRUE(others_.is_quiet(VmId{1}));
  put(kPlain, "cpu.max", "70000 100000");
  others_.stir();
  EXPECT_FALSE(others_.is_quiet(VmId{1}));
  EXPECT_EQ(take(), (Found{wrote(1, Knob::kCpuMax, 700)}));
  EXPECT_TRUE(others_.is_quiet(VmId{1}));
}

TEST_F(ForeignWritesTest, LooksWhereTheWeightIsToo) {
  attach(1, kLibvirt);
  apply_one(hands_, {.vm = VmId{1}, .knob = Knob::kCpuWeight, .value = 400});
  put(kScope, "cpu.weight", "77");
  EXPECT_EQ(take(), (Found{wrote(1, Knob::kCpuWeight, 77)}));
}

TEST_F(ForeignWritesTest, PassesOverOwnWritesAndRightOnes) {
  attach(1, kPlain);
  for (int i = 0; i < 50; ++i) apply_one(hands_, cap(1, 200 + i));
  EXPECT_EQ(take(), Found{});
  put(kPlain, "cpu.max", "24900 100000");  // what it says already
  EXPECT_EQ(take(), Found{});
}

TEST_F(ForeignWritesTest, PassesOverKnobsThatOutriderHasNotSet) {
  attach(1, kPlain);
  put(kPlain, "cpu.max", "70000 100000");
  EXPECT_EQ(take(), Found{});
}

TEST_F(ForeignWritesTest, DoesNotRepeatWhatThePlanWasTold) {
  attach(1, kPlain);
  apply_one(hands_, cap(1, 200));
  put(kPlain, "cpu.max", "70000 100000");
  EXPECT_EQ(apply_one(hands_, cap(1, 300)), foreign(700));
  EXPECT_EQ(take(), Found{});
}

TEST_F(ForeignWritesTest, TellsOfTheSameValueAgainAfterAReassertion) {
  attach(1, kPlain);
  apply_one(hands_, cap(1, 200));
  put(kPlain, "cpu.max", "70000 100000");
  EXPECT_EQ(take().size(), 1U);
  apply_one(hands_, cap(1, 200, Reason::kReassert));
  put(kPlain, "cpu.max", "70000 100000");
  EXPECT_EQ(take(), (Found{wrote(1, Knob::kCpuMax, 700)}));
}

TEST_F(ForeignWritesTest, ForgetsAVm) {
  attach(1, kPlain);
  attach(2, kLibvirt);
  apply_one(hands_, cap(1, 200));
  apply_one(hands_, cap(2, 200));
  others_.forget(VmId{1});
  put(kPlain, "cpu.max", "70000 100000");
  put(kLibvirt, "cpu.max", "70000 100000");
  EXPECT_EQ(take(), (Found{wrote(2, Knob::kCpuMax, 700)}));
}

TEST_F(ForeignWritesTest, IsReadableWhenThereIsSomethingToTake) {
  attach(1, kPlain);
  pollfd wait{others_.fd(), POLLIN, 0};
  EXPECT_EQ(::poll(&wait, 1, 0), 0);
  put(kPlain, "cpu.max", "70000 100000");
  EXPECT_EQ(::poll(&wait, 1, 0), 1);
}

// Its own descriptors are what it knows its own writes by.
TEST_F(ForeignWritesTest, OwnWritesCostNoEvent) {
  attach(1, kPlain);
  pollfd wait{others_.fd(), POLLIN, 0};
  apply_one(hands_, cap(1, 200));
  apply_one(hands_, cap(1, 300));
  EXPECT_EQ(::poll(&wait, 1, 0), 0);
}

TEST_F(ForeignWritesTest, FindsWhoKeepsTheFileOpen) {
  attach(1, kPlain);
  attach(2, kLibvirt);
  apply_one(hands_, cap(1, 200));
  apply_one(hands_, cap(2, 200));
  auto held = KnobFile::open(-1, host_.cgroups() + kLibvirt + "/cpu.max");
  ASSERT_TRUE(held);
  EXPECT_EQ(take(), Found{});
  held->write(KnobValue{"70000 100000"});
  Found all;
  const auto until = now_ + ForeignWrites::kRound;
  while (now_ < until) {
    const Found found = take();
    all.insert(all.end(), found.begin(), found.end());
  }
  EXPECT_EQ(all, (Found{wrote(2, Knob::kCpuMax, 700)}));
}

// Of two files in turn, so that no two events are joined: more of them than the
// kernel keeps. The other VM's event is behind them, or lost.
TEST_F(ForeignWritesTest, StormsHideNobodyForLong) {
  attach(1, kPlain);
  attach(2, kLibvirt);
  apply_one(hands_, cap(1, 200));
  apply_one(hands_, cap(2, 200));
  EXPECT_EQ(take(), Found{});
  for (int i = 0; i < 12'000; ++i) {
    put(kPlain, "cpu.max", "70000 100000");
    put(kPlain, "cpu.weight", "5");
  }
  put(kLibvirt, "cpu.max", "80000 100000");
  EXPECT_EQ(take(), (Found{wrote(1, Knob::kCpuMax, 700)}));
  EXPECT_FALSE(others_.is_quiet(VmId{2}));  // what was lost may have been its
  Found all;
  for (int ticks = 0; ticks < 50; ++ticks) {  // 1 s
    const Found found = take();
    all.insert(all.end(), found.begin(), found.end());
  }
  EXPECT_EQ(all, (Found{wrote(2, Knob::kCpuMax, 800)}));
  for (int ticks = 0; ticks < 50; ++ticks) take();
  EXPECT_TRUE(others_.is_quiet(VmId{2}));
}

TEST_F(ForeignWritesTest, AllocatesNothingInASteadyState) {
  attach(1, kPlain);
  apply_one(hands_, cap(1, 200));
  (void)others_.take(now_, hands_);
  const std::uint64_t before = allocations();
  for (int i = 0; i < 1000; ++i) {
    apply_one(hands_, cap(1, 300 + i));
    (void)others_.take(now_, hands_);
  }
  EXPECT_EQ(allocations() - before, 0U);
}

}  // namespace
}  // namespace outrider
