// SPDX-License-Identifier: Apache-2.0
#include "agent/warden/hang_watch.h"

#include <gtest/gtest.h>

namespace outrider {
namespace {

using std::chrono::milliseconds;

constexpr Duration kHang = milliseconds{200};  // looked at every 50 ms

/// Time as the warden sees it.
struct Host {
  HangWatch watch{kHang};
  Instant now{std::chrono::hours{1}};
  std::uint64_t beat_ns = 0;

  void beat() {
    beat_ns = static_cast<std::uint64_t>(now.time_since_epoch().count());
  }
  /// A look after a sleep that was `late` longer than it was to be.
  bool look(Duration late = {}) {
    const Duration slept = watch.pause() + late;
    now += slept;
    return watch.look(slept, now, beat_ns);
  }
};

TEST(HangWatch, WaitsForTheFirstBeat) {
  Host host;
  for (int i = 0; i < 100; ++i) EXPECT_FALSE(host.look());
}

TEST(HangWatch, LeavesABeatingAgentAlone) {
  Host host;
  for (int i = 0; i < 100; ++i) {
    host.beat();
    EXPECT_FALSE(host.look(milliseconds{149}));
  }
}

// 50, 100, 150, 200 are not older than 200 ms; 250 is.
TEST(HangWatch, GivesUpWithinAQuarterMore) {
  Host host;
  host.beat();
  for (int i = 0; i < 4; ++i) EXPECT_FALSE(host.look());
  EXPECT_TRUE(host.look());
}

TEST(HangWatch, GivesUpOnceUntilItBeatsAgain) {
  Host host;
  host.beat();
  while (!host.look()) {
  }
  for (int i = 0; i < 100; ++i) EXPECT_FALSE(host.look());
  host.beat();
  for (int i = 0; i < 4; ++i) EXPECT_FALSE(host.look());
  EXPECT_TRUE(host.look());
}

// The host stood still for a second: the agent beats as soon as it runs again.
TEST(HangWatch, LooksAgainAfterALateWakeUp) {
  Host host;
  host.beat();
  EXPECT_FALSE(host.look(milliseconds{1000}));
  EXPECT_EQ(host.watch.pause(), milliseconds{25});
  host.beat();
  EXPECT_FALSE(host.look());
  EXPECT_EQ(host.watch.pause(), milliseconds{50});
}

TEST(HangWatch, GivesUpAtTheSecondLookWhenThatIsOnTime) {
  Host host;
  host.beat();
  EXPECT_FALSE(host.look(milliseconds{1000}));
  EXPECT_TRUE(host.look());
}

TEST(HangWatch, DoubtsNotForEver) {
  Host host;
  host.beat();
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(host.look(milliseconds{1000}));
  EXPECT_TRUE(host.look(milliseconds{1000}));
}

// Read just before the agent, on another CPU, stamped its own clock.
TEST(HangWatch, TakesABeatFromTheFutureAsFresh) {
  Host host;
  host.now += milliseconds{60};
  host.beat();
  host.now -= milliseconds{60};
  EXPECT_FALSE(host.look());
}

}  // namespace
}  // namespace outrider
