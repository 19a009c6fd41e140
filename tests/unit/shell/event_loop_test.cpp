// SPDX-License-Identifier: Apache-2.0
#include "agent/sys/event_loop.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <string>
#include <vector>

#include "agent/sys/clock.h"
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

/// Everything that a loop promises, by each of its back-ends.
class EventLoopOf : public testing::TestWithParam<EventBackend> {
 protected:
  void SetUp() override {
    loop = EventLoop::make(GetParam());
    ASSERT_TRUE(loop);
    if (loop->backend() != GetParam())
      GTEST_SKIP() << "NOT TESTED: " << loop->refusal();
  }
  // One, and one more for each signal, which ends a turn early; the end of
  // another test's ring is some. Thousands, if a turn does not wait.
  int turns_in_30_ms() {
    const Instant end = monotonic_now() + std::chrono::milliseconds{30};
    int turns = 0;
    for (Instant now = monotonic_now(); now < end; now = monotonic_now()) {
      EXPECT_TRUE(loop->turn(end - now));
      ++turns;
    }
    return turns;
  }
  Result<EventLoop> loop;
};

INSTANTIATE_TEST_SUITE_P(, EventLoopOf,
                         testing::Values(EventBackend::kEpoll,
                                         EventBackend::kIoUring),
                         [](const auto& backend) {
                           return backend.param == EventBackend::kEpoll
                                      ? "Epoll"
                                      : "IoUring";
                         });

TEST_P(EventLoopOf, HandlesWhatIsReadyAndNothingElse) {
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

TEST_P(EventLoopOf, AHandlerMayForgetItselfAndOthers) {
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

TEST_P(EventLoopOf, AReusedNumberGetsNoEventOfTheOneBefore) {
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

TEST_P(EventLoopOf, TurnsWithoutAllocating) {
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

TEST_P(EventLoopOf, WaitsAsLongAsItIsTold) {
  Pipe pipe;
  ASSERT_TRUE(
      loop->watch(pipe.reader.get(), EPOLLIN, [](std::uint32_t) { FAIL(); }));
  EXPECT_LE(turns_in_30_ms(), 20);
}

TEST_P(EventLoopOf, WhatWasForgottenEndsNoWaitAndIsClosed) {
  Pipe pipe;
  ASSERT_TRUE(
      loop->watch(pipe.reader.get(), EPOLLIN, [](std::uint32_t) { FAIL(); }));
  ASSERT_TRUE(loop->turn(Duration{0}));
  loop->forget(pipe.reader.get());
  pipe.reader = Fd{};
  // Nobody holds the other end: a back-end that kept its file open would.
  std::signal(SIGPIPE, SIG_IGN);
  EXPECT_EQ(::write(pipe.writer.get(), "x", 1), -1);
  EXPECT_EQ(errno, EPIPE);
  EXPECT_LE(turns_in_30_ms(), 20);
}

TEST_P(EventLoopOf, TellsOfWhatIsWantedNow) {
  Pipe pipe;
  std::uint32_t seen = 0;
  int calls = 0;
  ASSERT_TRUE(loop->watch(pipe.writer.get(), 0, [&](std::uint32_t events) {
    seen = events;
    ++calls;
  }));
  ASSERT_TRUE(loop->turn(Duration{0}));
  EXPECT_EQ(calls, 0);
  ASSERT_TRUE(loop->change(pipe.writer.get(), EPOLLOUT));
  ASSERT_TRUE(loop->turn(Duration{0}));
  EXPECT_EQ(seen, std::uint32_t{EPOLLOUT});
  ASSERT_TRUE(loop->change(pipe.writer.get(), 0));
  ASSERT_TRUE(loop->turn(Duration{0}));
  EXPECT_EQ(calls, 1);
  pipe.reader = Fd{};
  ASSERT_TRUE(loop->turn(Duration{0}));
  EXPECT_EQ(seen, std::uint32_t{EPOLLERR}) << "told though nobody asked";
}

TEST_P(EventLoopOf, AHalfClosedPeerIsNoEventWhileNothingIsWanted) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()),
            0);
  const Fd own{ends[0]};
  const Fd peer{ends[1]};
  int calls = 0;
  ASSERT_TRUE(loop->watch(own.get(), 0, [&](std::uint32_t) { ++calls; }));
  ASSERT_EQ(::shutdown(peer.get(), SHUT_WR), 0);
  ASSERT_TRUE(loop->turn(Duration{0}));
  EXPECT_EQ(calls, 0);
  ASSERT_TRUE(loop->change(own.get(), EPOLLIN));
  ASSERT_TRUE(loop->turn(Duration{0}));
  EXPECT_EQ(calls, 1);
}

TEST_P(EventLoopOf, EveryOneOfManyGetsItsTurn) {
  constexpr int kPipes = 300;  // more than one turn takes, or one submission
  std::vector<Pipe> pipes(kPipes);
  std::vector<int> calls(kPipes);
  for (std::size_t i = 0; i < kPipes; ++i) {
    ASSERT_TRUE(loop->watch(pipes[i].reader.get(), EPOLLIN,
                            [&calls, i](std::uint32_t) { ++calls[i]; }));
    pipes[i].fill();
  }
  for (int turn = 0; turn < 10; ++turn) ASSERT_TRUE(loop->turn(Duration{0}));
  for (const int count : calls) EXPECT_GE(count, 1);
}

TEST_P(EventLoopOf, RefusesWhatIsNotOpen) {
  Pipe pipe;
  const int closed = pipe.reader.get();
  pipe.reader = Fd{};
  auto watched = loop->watch(closed, EPOLLIN, [](std::uint32_t) { FAIL(); });
  ASSERT_FALSE(watched);
  EXPECT_EQ(watched.error().code, EBADF);
  ASSERT_TRUE(loop->turn(Duration{0}));
}

// Takes io_uring_setup(2) from this process, as container engines do.
bool refuse_io_uring() {
  std::array<sock_filter, 4> code = {
      sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                           offsetof(seccomp_data, nr)),
      sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
      sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
  const sock_fprog program{.len = code.size(), .filter = code.data()};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

TEST(EventLoop, TakesEpollWhereIoUringIsRefusedAndSaysWhy) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    if (!refuse_io_uring()) ::_exit(2);
    auto loop = EventLoop::make(EventBackend::kIoUring);
    const bool holds = loop && loop->backend() == EventBackend::kEpoll &&
                       loop->refusal() ==
                           "io_uring: not allowed here: "
                           "Operation not permitted" &&
                       loop->turn(Duration{0});
    ::_exit(holds ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST(PeriodicTimer, StartsHalfWayBetweenTwoOfTheKernelsTicks) {
  using std::chrono::microseconds;
  const Instant start{std::chrono::hours{1}};
  const KernelTick tick{.last = start, .period = microseconds{4000}};
  for (int at = -9000; at <= 9000; at += 500) {
    SCOPED_TRACE(at);
    const Instant from = start + microseconds{at};
    const Instant found = between_ticks(from, tick);
    EXPECT_GE(found, from);
    EXPECT_LT(found - from, tick.period);
    EXPECT_EQ((found - start + 100 * tick.period) % tick.period,
              microseconds{2000});
  }
  EXPECT_EQ(between_ticks(start, {}), start);
}

TEST(PeriodicTimer, KnowsTheKernelsTick) {
  const KernelTick tick = kernel_tick();
  EXPECT_GE(tick.period, std::chrono::microseconds{500});
  EXPECT_LE(tick.period, std::chrono::milliseconds{10});
  EXPECT_LE(tick.last, monotonic_now());
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
