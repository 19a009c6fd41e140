// SPDX-License-Identifier: Apache-2.0
#include "agent/effective_limits.h"

#include <cerrno>

#include "tests/unit/act/act_fixture.h"

namespace outrider {
namespace {

class EffectiveLimits : public ActTest {};

TEST_F(EffectiveLimits, TheLeastCapAlongThePathBinds) {
  put("/machine.slice", "cpu.max", "150000 100000");
  put(kScope, "cpu.max", "max 100000");
  put(kLibvirt, "cpu.max", "40000 20000");
  const auto cap = read_effective_cap(tree_, kLibvirt);
  ASSERT_TRUE(cap);
  EXPECT_EQ(cap->path,
            (std::vector<PathCap>{{"/machine.slice", MilliCpus{1500}},
                                  {kScope, kNoCap},
                                  {kLibvirt, MilliCpus{2000}}}));
  EXPECT_EQ(cap->binding, (PathCap{"/machine.slice", MilliCpus{1500}}));
  put(kLibvirt, "cpu.max", "30000 20000");  // as low: its own binds
  EXPECT_EQ(read_effective_cap(tree_, kLibvirt)->binding.cgroup, kLibvirt);
}

TEST_F(EffectiveLimits, NothingBindsWhereNothingIsCapped) {
  const auto cap = read_effective_cap(tree_, kPlain);
  ASSERT_TRUE(cap);
  EXPECT_EQ(cap->path.size(), 1U);  // qemu.slice has no controller
  EXPECT_EQ(cap->binding, PathCap{});
}

TEST_F(EffectiveLimits, AGoneCgroupIsAnError) {
  EXPECT_EQ(read_effective_cap(tree_, "/no/such").error().code, ENOENT);
  EXPECT_EQ(read_weight_share(tree_, "/no/such").error().code, ENOENT);
}

// 400 of 400 + 100 + 300; a sibling that runs nothing and an idle one take
// nothing.
TEST_F(EffectiveLimits, TheWeightCountsAmongTheSiblingsOfTheScope) {
  put(kScope, "cpu.weight", "400");
  put(kLibvirt, "cpu.weight", "7");
  make_cgroup("/machine.slice/b.scope");
  make_cgroup("/machine.slice/c.scope");
  put("/machine.slice/c.scope", "cpu.weight", "300");
  make_cgroup("/machine.slice/empty.scope");
  put("/machine.slice/empty.scope", "cgroup.events", "populated 0\nfrozen 0");
  make_cgroup("/machine.slice/idle.scope");
  put("/machine.slice/idle.scope", "cpu.idle", "1");
  EXPECT_EQ(read_weight_share(tree_, kLibvirt).value_or(WeightShare{}),
            (WeightShare{kScope, 400, 800, 500}));
  put(kScope, "cpu.idle", "1");
  EXPECT_EQ(read_weight_share(tree_, kLibvirt).value_or(WeightShare{}),
            (WeightShare{kScope, 0, 400, 0}));
}

}  // namespace
}  // namespace outrider
