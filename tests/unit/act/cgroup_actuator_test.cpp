// SPDX-License-Identifier: Apache-2.0
#include "agent/cgroup_actuator.h"

#include <cerrno>
#include <filesystem>

#include "tests/unit/act/act_fixture.h"
#include "tests/unit/shell/allocations.h"

namespace outrider {
namespace {

class CgroupActuatorTest : public ActTest {
 protected:
  AttachedKnobs attach(std::uint32_t id, const std::string& cgroup,
                       const KnobOptions& options = {}) {
    auto found = hands_.attach(vm(id, cgroup), options);
    EXPECT_TRUE(found) << (found ? "" : found.error().what);
    return found ? *found : AttachedKnobs{};
  }

  CgroupActuator hands_{tree_, table_};
};

TEST_F(CgroupActuatorTest, SetsACapAndSaysWhatTheFileSays) {
  attach(1, kPlain);
  EXPECT_EQ(apply_one(hands_, cap(1, 200)), applied(200));
  EXPECT_EQ(says(kPlain, "cpu.max"), "20000 100000");
  EXPECT_EQ(apply_one(hands_, cap(1, 5)), applied(10));  // the kernel's least
  EXPECT_EQ(apply_one(hands_, cap(1, -1)), applied(-1));
  EXPECT_EQ(says(kPlain, "cpu.max"), "max 100000");
}

TEST_F(CgroupActuatorTest, UsesTheCapPeriod) {
  attach(1, kPlain, {.cap_period = std::chrono::milliseconds{20}});
  EXPECT_EQ(apply_one(hands_, cap(1, 200)), applied(200));
  EXPECT_EQ(says(kPlain, "cpu.max"), "4000 20000");
}

TEST_F(CgroupActuatorTest, AttachingWritesNothingAndTellsTheCap) {
  put(kPlain, "cpu.max", "35000 100000");
  const AttachedKnobs found = attach(1, kPlain);
  EXPECT_EQ(found.cap, MilliCpus{350});
  EXPECT_TRUE(found.missing.empty());
  EXPECT_TRUE(fake_baseline().live.empty());
  EXPECT_EQ(hands_.writes(), 0U);
  EXPECT_EQ(hands_.attach(vm(1, kPlain), {}).error().code, EEXIST);
}

TEST_F(CgroupActuatorTest, NeverWritesWhatIsThereAlready) {
  put(kPlain, "cpu.max", "20000 100000");
  attach(1, kPlain);
  EXPECT_EQ(apply_one(hands_, cap(1, 200)), applied(200));
  EXPECT_EQ(hands_.writes(), 0U);
  apply_one(hands_, cap(1, 300));
  apply_one(hands_, cap(1, 300));
  EXPECT_EQ(hands_.writes(), 1U);
}

TEST_F(CgroupActuatorTest, TellsTheTableBeforeItWrites) {
  attach(1, kPlain);
  std::string seen;
  fake_baseline().on_announce = [&] { seen = says(kPlain, "cpu.max"); };
  apply_one(hands_, cap(1, 200));
  EXPECT_EQ(seen, "max 100000");
  const FakeRecord* record = fake_baseline().find(kPlain, "cpu.max");
  ASSERT_NE(record, nullptr);
  EXPECT_EQ(record->knob.baseline, "max 100000");
  EXPECT_EQ(record->knob.cgroup_id, vm(1, kPlain).identity.cgroup_id);
  EXPECT_EQ(record->announced, "20000 100000");
  EXPECT_EQ(record->confirmed, "20000 100000");
  apply_one(hands_, cap(1, 300));
  EXPECT_EQ(fake_baseline().live.size(), 1U);
  EXPECT_EQ(record->knob.baseline, "max 100000");
}

TEST_F(CgroupActuatorTest, WritesNothingThatTheTableHasNoRoomFor) {
  attach(1, kPlain);
  fake_baseline().refuse_with = ENOSPC;
  EXPECT_EQ(apply_one(hands_, cap(1, 200)),
            (Outcome{Outcome::Kind::kUnconfirmed, ENOSPC, 0}));
  EXPECT_EQ(says(kPlain, "cpu.max"), "max 100000");
}

TEST_F(CgroupActuatorTest, KnowsWhereLibvirtsKnobsAre) {
  const AttachedKnobs found = attach(1, kLibvirt, {.split = Split::kEqual});
  EXPECT_EQ(found.cgroups,
            (std::vector<std::string>{kLibvirt, kLibvirt + "/vcpu0",
                                      kLibvirt + "/vcpu1", kScope}));
  const std::vector<Action> plan{
      {.vm = VmId{1}, .value = 1500},
      {.vm = VmId{1}, .knob = Knob::kCpuMaxBurst, .value = 5000},
      {.vm = VmId{1}, .knob = Knob::kVcpuMax, .index = 1, .value = 750},
      {.vm = VmId{1}, .knob = Knob::kCpuWeight, .value = 400},
  };
  std::vector<Outcome> outcomes(plan.size());
  hands_.apply(plan, outcomes);
  EXPECT_EQ(outcomes, (std::vector<Outcome>{applied(1500), applied(5000),
                                            applied(750), applied(400)}));
  EXPECT_EQ(says(kLibvirt, "cpu.max"), "150000 100000");
  EXPECT_EQ(says(kLibvirt, "cpu.max.burst"), "5000");
  EXPECT_EQ(says(kLibvirt + "/vcpu0", "cpu.max"), "max 100000");
  EXPECT_EQ(says(kLibvirt + "/vcpu1", "cpu.max"), "75000 100000");
  EXPECT_EQ(says(kScope, "cpu.weight"), "400");
  EXPECT_EQ(says(kLibvirt, "cpu.weight"), "100");
}

TEST_F(CgroupActuatorTest, LeavesWeightsToSystemd) {
  const AttachedKnobs found =
      attach(1, kLibvirt, {.weights = WeightOwner::kSystemd});
  ASSERT_EQ(found.missing.size(), 1U);
  EXPECT_EQ(found.missing[0].what, "weights: systemd owns them");
  const Action weight{.vm = VmId{1}, .knob = Knob::kCpuWeight, .value = 400};
  EXPECT_EQ(apply_one(hands_, weight),
            (Outcome{Outcome::Kind::kUnconfirmed, EOPNOTSUPP, 0}));
  EXPECT_EQ(says(kScope, "cpu.weight"), "100");
}

TEST_F(CgroupActuatorTest, SaysWhatAVmHasNot) {
  host_.remove("cgroup" + kPlain + "/cpu.idle");
  const AttachedKnobs found = attach(1, kPlain, {.split = Split::kEqual});
  ASSERT_EQ(found.missing.size(), 2U);
  EXPECT_NE(found.missing[0].what.find("no cgroups of vCPUs"),
            std::string::npos);
  EXPECT_NE(found.missing[1].what.find("cpu.idle"), std::string::npos);
}

TEST_F(CgroupActuatorTest, RefusesACgroupThatIsAnothersNow) {
  Vm other = vm(1, kPlain);
  ++other.identity.cgroup_id;
  EXPECT_EQ(hands_.attach(other, {}).error().code, ESTALE);
  Vm gone = vm(1, kPlain);
  gone.identity.cgroup = "/no/such";
  EXPECT_EQ(hands_.attach(gone, {}).error().code, ENOENT);
  host_.remove("cgroup" + kPlain + "/cpu.max");
  EXPECT_EQ(hands_.attach(vm(1, kPlain), {}).error().code, ENOENT);
}

TEST_F(CgroupActuatorTest, KeepsOffWhatSomebodyElseWrote) {
  attach(1, kPlain);
  apply_one(hands_, cap(1, 200));
  put(kPlain, "cpu.max", "70000 100000");
  EXPECT_EQ(apply_one(hands_, cap(1, 300)), foreign(700));
  EXPECT_EQ(says(kPlain, "cpu.max"), "70000 100000");
  // Once more, when the controller says so.
  EXPECT_EQ(apply_one(hands_, cap(1, 300, Reason::kReassert)), applied(300));
  EXPECT_EQ(apply_one(hands_, cap(1, 400)), applied(400));
  EXPECT_EQ(fake_baseline().find(kPlain, "cpu.max")->knob.baseline,
            "max 100000");
}

TEST_F(CgroupActuatorTest, AtOnceItTakesTheCallersWordForIt) {
  attach(1, kPlain);
  const auto at_once = [this](std::int64_t value) {
    const Action action = cap(1, value, Reason::kEdge);
    Outcome outcome;
    hands_.apply_at_once({&action, 1}, {&outcome, 1});
    return outcome;
  };
  put(kPlain, "cpu.max", "60000 100000");
  EXPECT_EQ(at_once(200), foreign(600));  // what is untouched is read
  put(kPlain, "cpu.max", "max 100000");
  EXPECT_EQ(at_once(200), applied(200));
  put(kPlain, "cpu.max", "70000 100000");  // the caller was wrong
  EXPECT_EQ(at_once(300), applied(300));
  EXPECT_EQ(says(kPlain, "cpu.max"), "30000 100000");
  put(kPlain, "cpu.max", "70000 100000");
  EXPECT_EQ(apply_one(hands_, cap(1, 400)), foreign(700));
  EXPECT_EQ(at_once(400), foreign(700));  // known to be another's
}

TEST_F(CgroupActuatorTest, KeepsOffWhatChangedBeforeItsFirstWrite) {
  attach(1, kPlain);
  put(kPlain, "cpu.max", "70000 100000");
  EXPECT_EQ(apply_one(hands_, cap(1, 300)), foreign(700));
  EXPECT_TRUE(fake_baseline().live.empty());
}

TEST_F(CgroupActuatorTest, TakesUpWhatSomebodyElseWroteWhenTold) {
  attach(1, kPlain);
  apply_one(hands_, cap(1, 200));
  put(kPlain, "cpu.max", "70000 100000");
  ASSERT_TRUE(hands_.adopt(VmId{1}));
  EXPECT_EQ(hands_.read_cap(VmId{1}).value_or(MilliCpus{}), MilliCpus{700});
  EXPECT_TRUE(fake_baseline().live.empty());
  EXPECT_EQ(apply_one(hands_, cap(1, 300)), applied(300));
  EXPECT_EQ(fake_baseline().find(kPlain, "cpu.max")->knob.baseline,
            "70000 100000");
}

TEST_F(CgroupActuatorTest, ToldOfAVmThatItDoesNotHaveSaysGone) {
  EXPECT_EQ(apply_one(hands_, cap(7, 200)),
            (Outcome{Outcome::Kind::kGone, ENOENT, 0}));
}

TEST_F(CgroupActuatorTest, AllocatesNothingInAThousandPlans) {
  attach(1, kPlain);
  attach(2, kLibvirt);
  std::vector<Action> plan{
      cap(1, 200),
      {.vm = VmId{2}, .knob = Knob::kCpuMaxBurst, .value = 5000},
      cap(2, 300)};
  std::vector<Outcome> outcomes(plan.size());
  hands_.apply(plan, outcomes);  // the table's part
  const std::uint64_t before = allocations();
  for (int i = 0; i < 1000; ++i) {
    plan[0].value = 200 + i;
    plan[2].value = 30 + i % 40;  // passes the burst, both ways
    hands_.apply(plan, outcomes);
  }
  EXPECT_EQ(allocations() - before, 0U);
  EXPECT_EQ(outcomes[0], applied(1199));
  EXPECT_EQ(outcomes[2], applied(69));
}

// --- The table's generation
// ---------------------------------------------------

constexpr Outcome kCancelled{Outcome::Kind::kUnconfirmed, ECANCELED, 0};

TEST_F(CgroupActuatorTest, WritesNothingAfterTheWardenPutAllBack) {
  attach(1, kPlain);
  fake_baseline().generation = 1;
  EXPECT_EQ(apply_one(hands_, cap(1, 200)), kCancelled);
  EXPECT_EQ(says(kPlain, "cpu.max"), "max 100000");
  hands_.adopt_all();
  EXPECT_EQ(apply_one(hands_, cap(1, 200)), applied(200));
}

TEST_F(CgroupActuatorTest, TakesBackWhatItWroteWhileTheWardenPutAllBack) {
  attach(1, kPlain);
  attach(2, kLibvirt);
  apply_one(hands_, cap(1, 100));
  // It stopped just before its write, and the warden came.
  fake_baseline().on_announce = [&] {
    put(kPlain, "cpu.max", "max 100000");
    fake_baseline().generation = 1;
    fake_baseline().on_announce = {};
  };
  const std::vector<Action> plan{cap(1, 200), cap(2, 300)};
  std::vector<Outcome> outcomes(2);
  hands_.apply(plan, outcomes);
  EXPECT_EQ(outcomes, (std::vector<Outcome>{kCancelled, kCancelled}));
  EXPECT_EQ(says(kPlain, "cpu.max"), "max 100000");
  EXPECT_EQ(says(kLibvirt, "cpu.max"), "max 100000");
  EXPECT_TRUE(fake_baseline().live.empty());
}

TEST_F(CgroupActuatorTest, AdoptsForeignValuesWithTheGeneration) {
  attach(1, kPlain);
  apply_one(hands_, cap(1, 100));
  put(kPlain, "cpu.max", "70000 100000");
  fake_baseline().generation = 1;
  hands_.adopt_all();
  EXPECT_TRUE(fake_baseline().live.empty());
  EXPECT_EQ(apply_one(hands_, cap(1, 200)), applied(200));
  EXPECT_EQ(fake_baseline().find(kPlain, "cpu.max")->knob.baseline,
            "70000 100000");
}

TEST_F(CgroupActuatorTest, KeepsTheBaselineOfWhatTheWardenCouldNotPutBack) {
  attach(1, kPlain);
  apply_one(hands_, cap(1, 100));
  fake_baseline().generation = 1;
  hands_.adopt_all();
  EXPECT_EQ(apply_one(hands_, cap(1, 200)), applied(200));
  EXPECT_EQ(fake_baseline().find(kPlain, "cpu.max")->knob.baseline,
            "max 100000");
}

}  // namespace
}  // namespace outrider
