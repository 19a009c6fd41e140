// SPDX-License-Identifier: Apache-2.0
// What one agent wrote last, the next one begins with.
#include "agent/warm_start.h"

#include <gtest/gtest.h>

#include <fstream>

#include "agent/core/peak_forecaster.h"
#include "tests/unit/shell/journal_host.h"

namespace outrider {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;

Result<Duration> inherit(const std::string& directory, Instant now,
                         Controller& controller) {
  return inherit_from_journal(
      directory, [](std::uint32_t steps) { return make_forecaster(steps); },
      now, controller);
}

Controller fresh() {
  return {Host::enforcing(), {.cpus = 64}, kTick, make_forecaster};
}

std::string in(const TemporaryDir& dir) { return dir.path() + "/journal"; }

/// An agent that ran for 600 ticks and ended; when.
Instant run_and_end(const TemporaryDir& dir) {
  Host host(options_in(dir));
  host.slow_tick();
  for (int i = 0; i < 600; ++i) host.tick();
  EXPECT_TRUE(host.wait_until([](auto s) { return s.segments == 1; }));
  host.finish();
  return host.now();
}

std::uint32_t scored(Controller& controller) {
  EXPECT_TRUE(controller.add_vm({.id = VmId{9}, .name = "web-1", .vcpus = 2}));
  return controller.find(VmId{9})->soon.scored;
}

TEST(WarmStart, GoesOnFromTheLastSegment) {
  const TemporaryDir dir;
  const Instant end = run_and_end(dir);
  Controller controller = fresh();
  const auto ago = inherit(in(dir), end + milliseconds{400}, controller);
  ASSERT_TRUE(ago) << ago.error().what;
  EXPECT_EQ(*ago, milliseconds{400});
  EXPECT_GT(scored(controller), 500U);
}

TEST(WarmStart, StartsAnewWhereTheJournalIsOld) {
  const TemporaryDir dir;
  const Instant end = run_and_end(dir);
  Controller controller = fresh();
  const auto ago = inherit(in(dir), end + minutes{11}, controller);
  ASSERT_FALSE(ago);
  EXPECT_NE(ago.error().what.find("11 minutes old"), std::string::npos);
  EXPECT_EQ(scored(controller), 0U);
}

TEST(WarmStart, StartsAnewWhereTheJournalIsOfALaterTime) {
  const TemporaryDir dir;
  const Instant end = run_and_end(dir);
  Controller controller = fresh();
  EXPECT_FALSE(inherit(in(dir), end - milliseconds{1}, controller));
}

TEST(WarmStart, StartsAnewWhereThereIsNoneOrItIsDamaged) {
  const TemporaryDir dir;
  Controller controller = fresh();
  EXPECT_FALSE(inherit(in(dir), Instant{}, controller));
  EXPECT_FALSE(inherit(in(dir) + "/none", Instant{}, controller));
  const Instant end = run_and_end(dir);
  const std::string path = find_segments(in(dir))->back();
  std::filesystem::resize_file(path, 5000);
  EXPECT_FALSE(inherit(in(dir), end, controller));
  std::ofstream(path) << "not a journal";
  EXPECT_FALSE(inherit(in(dir), end, controller));
  EXPECT_EQ(scored(controller), 0U);
}

}  // namespace
}  // namespace outrider
