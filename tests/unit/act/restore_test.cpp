// SPDX-License-Identifier: Apache-2.0
// The baselines come back, in an order that the kernel takes.
#include <sys/inotify.h>
#include <unistd.h>

#include <cstring>

#include "tests/unit/act/act_fixture.h"

namespace outrider {
namespace {

using Names = std::vector<std::string>;

/// Which files of a directory were written, in their order.
class Writes {
 public:
  explicit Writes(const std::string& directory)
      : inotify_(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC)) {
    EXPECT_GE(::inotify_add_watch(inotify_.get(), directory.c_str(), IN_MODIFY),
              0);
  }
  Names take() const {
    alignas(inotify_event) char buffer[4096];
    Names names;
    const ssize_t got = ::read(inotify_.get(), buffer, sizeof(buffer));
    for (ssize_t at = 0; at < got;) {
      inotify_event event{};
      std::memcpy(&event, buffer + at, sizeof(event));
      names.emplace_back(buffer + at + sizeof(event));
      at += static_cast<ssize_t>(sizeof(event) + event.len);
    }
    return names;
  }

 private:
  Fd inotify_;
};

class RestoreTest : public ActTest {
 protected:
  void attach(std::uint32_t id, const std::string& cgroup,
              const KnobOptions& options = {}) {
    ASSERT_TRUE(hands_.attach(vm(id, cgroup), options));
  }
  static Action burst(std::int64_t microseconds) {
    return {.vm = VmId{1}, .knob = Knob::kCpuMaxBurst, .value = microseconds};
  }
  static Action idle(std::int64_t value) {
    return {.vm = VmId{1}, .knob = Knob::kCpuIdle, .value = value};
  }
  static Action weight(std::int64_t value) {
    return {.vm = VmId{1}, .knob = Knob::kCpuWeight, .value = value};
  }

  CgroupActuator hands_{tree_, table_};
};

TEST_F(RestoreTest, TellsWhatItWouldPutBackAndWhatItWouldLeave) {
  put(kLibvirt, "cpu.max", "50000 100000");
  attach(1, kLibvirt);
  attach(2, kPlain);
  EXPECT_TRUE(hands_.held().empty()) << "nothing has been touched";
  ASSERT_EQ(apply_one(hands_, cap(1, 300)), applied(300));
  ASSERT_EQ(apply_one(hands_, cap(2, 400)), applied(400));
  put(kPlain, "cpu.max", "70000 100000");

  const auto held = hands_.held();
  ASSERT_EQ(held.size(), 2U);
  EXPECT_EQ(held[0].cgroup, kLibvirt);
  EXPECT_EQ(held[0].attribute, "cpu.max");
  EXPECT_EQ(held[0].present, "30000 100000");
  EXPECT_EQ(held[0].baseline, "50000 100000");
  EXPECT_TRUE(held[0].is_ours);
  EXPECT_EQ(held[1].present, "70000 100000");
  EXPECT_FALSE(held[1].is_ours);
}

TEST_F(RestoreTest, PutsEveryKnobBackAndForgetsIt) {
  put(kLibvirt, "cpu.max", "50000 100000");
  put(kLibvirt, "cpu.max.burst", "7000");
  attach(1, kLibvirt, {.split = Split::kEqual});
  const std::vector<Action> plan{
      cap(1, 20),
      weight(400),
      {.vm = VmId{1}, .knob = Knob::kVcpuMax, .index = 0, .value = 300}};
  std::vector<Outcome> outcomes(plan.size());
  hands_.apply(plan, outcomes);
  EXPECT_EQ(fake_baseline().live.size(), 4U);  // the burst had to give way
  EXPECT_EQ(says(kLibvirt, "cpu.max.burst"), "2000");

  ASSERT_TRUE(hands_.restore(VmId{1}));
  EXPECT_EQ(says(kLibvirt, "cpu.max"), "50000 100000");
  EXPECT_EQ(says(kLibvirt, "cpu.max.burst"), "7000");
  EXPECT_EQ(says(kLibvirt + "/vcpu0", "cpu.max"), "max 100000");
  EXPECT_EQ(says(kScope, "cpu.weight"), "100");
  EXPECT_TRUE(fake_baseline().live.empty());
  // It is attached still, and begins anew.
  EXPECT_EQ(apply_one(hands_, cap(1, 600)), applied(600));
  EXPECT_EQ(fake_baseline().live.size(), 1U);
}

TEST_F(RestoreTest, WritesNothingWhereNothingWasWritten) {
  attach(1, kPlain);
  ASSERT_TRUE(hands_.restore_all());
  EXPECT_EQ(hands_.writes(), 0U);
}

TEST_F(RestoreTest, LeavesToOthersWhatTheyWrote) {
  attach(1, kPlain);
  apply_one(hands_, cap(1, 200));
  apply_one(hands_, weight(400));
  put(kPlain, "cpu.max", "70000 100000");
  ASSERT_TRUE(hands_.restore(VmId{1}));
  EXPECT_EQ(says(kPlain, "cpu.max"), "70000 100000");
  EXPECT_EQ(says(kPlain, "cpu.weight"), "100");
  EXPECT_TRUE(fake_baseline().live.empty());
}

TEST_F(RestoreTest, DetachingPutsBackToo) {
  attach(1, kPlain);
  attach(2, kLibvirt);
  apply_one(hands_, cap(1, 200));
  ASSERT_TRUE(hands_.detach(VmId{1}));
  EXPECT_EQ(says(kPlain, "cpu.max"), "max 100000");
  EXPECT_EQ(apply_one(hands_, cap(1, 200)).kind, Outcome::Kind::kGone);
  EXPECT_EQ(apply_one(hands_, cap(2, 200)), applied(200));
}

// The kernel refuses a burst above the quota at each write.
TEST_F(RestoreTest, RaisesTheQuotaFirstAndLowersTheBurstFirst) {
  attach(1, kPlain);
  apply_one(hands_, cap(1, 500));
  apply_one(hands_, burst(5000));
  const Writes writes{host_.cgroups() + kPlain};

  EXPECT_EQ(apply_one(hands_, cap(1, 20)), applied(20));
  EXPECT_EQ(writes.take(), (Names{"cpu.max.burst", "cpu.max"}));
  EXPECT_EQ(says(kPlain, "cpu.max.burst"), "2000");
  EXPECT_EQ(apply_one(hands_, cap(1, 30)), applied(30));
  EXPECT_EQ(writes.take(), (Names{"cpu.max", "cpu.max.burst"}));
  EXPECT_EQ(says(kPlain, "cpu.max.burst"), "3000");
  EXPECT_EQ(apply_one(hands_, cap(1, 500)), applied(500));
  EXPECT_EQ(writes.take(), (Names{"cpu.max", "cpu.max.burst"}));
  EXPECT_EQ(says(kPlain, "cpu.max.burst"), "5000");
  EXPECT_EQ(apply_one(hands_, cap(1, 400)), applied(400));
  EXPECT_EQ(writes.take(), (Names{"cpu.max"}));
}

TEST_F(RestoreTest, ABurstIsAtMostTheQuota) {
  attach(1, kPlain);
  apply_one(hands_, cap(1, 20));
  EXPECT_EQ(apply_one(hands_, burst(5000)), applied(2000));
  EXPECT_EQ(apply_one(hands_, cap(1, -1)), applied(-1));
  EXPECT_EQ(says(kPlain, "cpu.max.burst"), "5000");
}

TEST_F(RestoreTest, RestoresInTheSameOrder) {
  put(kPlain, "cpu.max", "9000 100000");
  put(kPlain, "cpu.max.burst", "8000");
  attach(1, kPlain);
  apply_one(hands_, cap(1, 20));
  const Writes writes{host_.cgroups() + kPlain};
  ASSERT_TRUE(hands_.restore(VmId{1}));
  EXPECT_EQ(writes.take(), (Names{"cpu.max", "cpu.max.burst"}));

  apply_one(hands_, cap(1, 500));
  apply_one(hands_, burst(20000));
  (void)writes.take();
  ASSERT_TRUE(hands_.restore(VmId{1}));
  EXPECT_EQ(writes.take(), (Names{"cpu.max.burst", "cpu.max"}));
  EXPECT_EQ(says(kPlain, "cpu.max"), "9000 100000");
  EXPECT_EQ(says(kPlain, "cpu.max.burst"), "8000");
}

// The kernel takes no weight of a group that is idle.
TEST_F(RestoreTest, EndsIdleBeforeItPutsTheWeightBack) {
  attach(1, kPlain);
  apply_one(hands_, weight(10));
  apply_one(hands_, idle(1));
  const Writes writes{host_.cgroups() + kPlain};
  ASSERT_TRUE(hands_.restore(VmId{1}));
  EXPECT_EQ(writes.take(), (Names{"cpu.idle", "cpu.weight"}));
}

TEST_F(RestoreTest, MakesNoGroupIdleWhoseOwnerChoseAWeight) {
  put(kPlain, "cpu.weight", "300");
  attach(1, kPlain);
  apply_one(hands_, weight(10));
  EXPECT_EQ(apply_one(hands_, idle(1)),
            (Outcome{Outcome::Kind::kUnconfirmed, EOPNOTSUPP, 0}));
  EXPECT_EQ(says(kPlain, "cpu.idle"), "0");
}

// The kernel sets the weight of a group that becomes idle to 0 by itself.
TEST_F(RestoreTest, TakesTheWeightThatIdleBringsAsItsOwn) {
  attach(1, kPlain);
  apply_one(hands_, weight(10));
  put(kPlain, "cpu.weight", "0");
  EXPECT_EQ(apply_one(hands_, idle(1)), applied(1));
  EXPECT_EQ(fake_baseline().find(kPlain, "cpu.weight")->confirmed, "0");
  std::vector<ForeignWrite> found;
  hands_.find_foreign(VmId{1}, found);
  EXPECT_TRUE(found.empty());
  ASSERT_TRUE(hands_.restore(VmId{1}));
  EXPECT_EQ(says(kPlain, "cpu.weight"), "100");
}

}  // namespace
}  // namespace outrider
