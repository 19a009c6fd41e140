// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "agent/core/peak_forecaster.h"
#include "tests/unit/core/controller_bench.h"

namespace outrider {
namespace {

Bench learning() {
  return Bench{enforcing(),
               [](std::uint32_t horizon) { return make_forecaster(horizon); }};
}

/// A tick of VMs that burst each second, and come, go and change meanwhile.
void play(Bench& bench, int tick) {
  const auto burst = [tick](int phase) {
    return (tick + phase) % 50 < 8 ? 900 : 20;
  };
  if (tick == 700) bench.add(3, "late", 1, kNoCap, "uuid-3");
  if (tick == 1500) bench.controller().remove_vm(VmId{3});
  if (tick % 211 == 0) bench.controller().resize(VmId{1}, 1 + tick % 2);
  if (tick == 1800) {
    std::vector<std::byte> learned;
    ASSERT_TRUE(bench.controller().give_learned(VmId{1}, learned));
    ASSERT_TRUE(bench.controller().take_learned("uuid-4", learned));
  }
  if (tick == 2000) bench.controller().remove_vm(VmId{2});
  bench.demand(1, burst(0));
  if (tick < 2000) bench.demand(2, burst(17));
  if (tick >= 700) bench.demand(3, burst(31));
}

// Whoever has time ponders at once, others never: it comes to the same.
TEST(ControllerPonder, DecidesTheSameWheneverItIsDone) {
  Bench early = learning();
  Bench late = learning();
  for (Bench* bench : {&early, &late}) {
    bench->add(1, "web");
    bench->add(2, "db");
  }
  bool has_season = false;
  for (int tick = 0; tick < 3000; ++tick) {
    play(early, tick);
    play(late, tick);
    ASSERT_EQ(early.tick(), late.tick()) << tick;
    while (early.controller().ponder()) {
    }
    has_season = has_season || early.state(1).ahead.season_steps > 0;
  }
  EXPECT_TRUE(has_season);  // or there was nothing to tell apart
}

TEST(ControllerPonder, HasAnEnd) {
  Bench bench = learning();
  EXPECT_FALSE(bench.controller().ponder());
  bench.add(1, "web");
  (void)bench.tick();
  int pieces = 1;
  while (bench.controller().ponder()) ++pieces;
  EXPECT_LE(pieces, 8);
  EXPECT_FALSE(bench.controller().ponder());
}

}  // namespace
}  // namespace outrider
