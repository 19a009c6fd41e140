// SPDX-License-Identifier: Apache-2.0
#include "agent/sys/event_loop.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <string>

#include "tests/unit/shell/allocations.h"

namespace outrider {
namespace {

struct Pipe {
  Fd reader;
  Fd writer;

  Pipe() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK) != 0) std::abort();
    reader = Fd{ends[0]};
    writer = Fd{ends[1]};
  }
  void fill() const { ASSERT_EQ(::write(writer.get(), "x", 1), 1); }
};

TEST(EventLoop, HandlesWhatIsReadyAndNothingElse) {
  auto loop = EventLoop::make();
  ASSERT_TRUE(loop);
  Pipe full;
  Pipe empty;
  int calls = 0;
  ASSERT_TRUE(
      loop->watch(full.reader.get(), EPOLLIN, [&](std::uint32_t events) {
        EXPECT_EQ(events, std::uint32_t{EPOLLIN});
        ++calls;
      }));
  ASSERT_TRUE(
      loop->watch(empty.reader.get(), EPOLLIN, [](std::uint32_t) { FAIL(); }));
  full.fill();
  ASSERT_TRUE(loop->turn(Duration{-1}));
  EXPECT_EQ(calls, 1);
  ASSERT_TRUE(loop->turn(Duration{0}));
  EXPECT_EQ(calls, 2) << "level-triggered";
  ASSERT_TRUE(loop->change(full.reader.get(), 0));
  ASSERT_TRUE(loop->turn(Duration{0}));
  EXPECT_EQ(calls, 2);
}

TEST(EventLoop, AHandlerMayForgetItselfAndOthers) {
  auto loop = EventLoop::make();
  ASSERT_TRUE(loop);
  std::array<Pipe, 2> pipes;
  int calls = 0;
  for (Pipe& pipe : pipes) {
    // Captured by value: read after `forget` it must still be there.
    const std::string own = "a handler with a state of its own, on the heap";
    ASSERT_TRUE(
        loop->watch(pipe.reader.get(), EPOLLIN, [&, own](std::uint32_t) {
          for (Pipe& each : pipes) loop->forget(each.reader.get());
          EXPECT_EQ(own.front(), 'a');
          ++calls;
        }));
    pipe.fill();
  }
  ASSERT_TRUE(loop->turn(Duration{0}));
  EXPECT_EQ(calls, 1) << "the other was forgotten before its turn";
}

TEST(EventLoop, AReusedNumberGetsNoEventOfTheOneBefore) {
  auto loop = EventLoop::make();
  ASSERT_TRUE(loop);
  std::array<Pipe, 2> pipes;
  Pipe idle;
  int calls = 0;
  for (Pipe& pipe : pipes) {
    ASSERT_TRUE(loop->watch(pipe.reader.get(), EPOLLIN, [&](std::uint32_t) {
      ++calls;
      // Whichever comes first puts an idle pipe in the other's place.
      Pipe& other = &pipe == pipes.data() ? pipes[1] : pipes[0];
      loop->forget(other.reader.get());
      loop->forget(pipe.reader.get());
      ::dup3(idle.reader.get(), other.reader.get(), O_CLOEXEC);
      ASSERT_TRUE(loop->watch(other.reader.get(), EPOLLIN,
                              [](std::uint32_t) { FAIL(); }));
    }));
    pipe.fill();
  }
  ASSERT_TRUE(loop->turn(Duration{0}));
  EXPECT_EQ(calls, 1);
}

TEST(EventLoop, TurnsWithoutAllocating) {
  auto loop = EventLoop::make();
  ASSERT_TRUE(loop);
  Pipe pipe;
  int calls = 0;
  ASSERT_TRUE(
      loop->watch(pipe.reader.get(), EPOLLIN, [&](std::uint32_t) { ++calls; }));
  pipe.fill();
  const std::uint64_t before = allocations();
  for (int i = 0; i < 100; ++i) {
    auto turned = loop->turn(Duration{0});
    if (!turned) break;
  }
  EXPECT_EQ(allocations(), before);
  EXPECT_EQ(calls, 100);
}

TEST(PeriodicTimer, SkipsTicksButCountsThem) {
  auto timer = PeriodicTimer::make(std::chrono::milliseconds{1});
  ASSERT_TRUE(timer);
  std::uint64_t ticks = 0;
  while (ticks < 5) {
    pollfd wait{.fd = timer->fd(), .events = POLLIN, .revents = 0};
    ASSERT_EQ(::poll(&wait, 1, 1000), 1);
    const std::uint64_t taken = timer->take();
    EXPECT_GE(taken, 1U);
    ticks += taken;
  }
  auto slow = PeriodicTimer::make(std::chrono::hours{1});
  ASSERT_TRUE(slow);
  EXPECT_EQ(slow->take(), 0U);
}

}  // namespace
}  // namespace outrider
