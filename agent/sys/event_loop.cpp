// SPDX-License-Identifier: Apache-2.0
#include "agent/sys/event_loop.h"

#include <sys/epoll.h>
#include <sys/timerfd.h>

#include <array>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <span>
#include <utility>

#include "agent/sys/clock.h"

namespace outrider {
namespace {

constexpr std::size_t kEventsPerTurn = 64;  // more wait for the next turn

// What `auto` means: docs/adr/0004-event-backend.md.
constexpr EventBackend kFaster = EventBackend::kEpoll;

// Told whether one asks for them or not.
constexpr std::uint32_t kAlways = EPOLLERR | EPOLLHUP;

int fd_of(std::uint64_t key) { return static_cast<int>(key & 0xffffffffU); }

}  // namespace

Result<EventLoop> EventLoop::make(EventBackend wanted) {
  EventLoop loop;
  if (wanted == EventBackend::kAuto) wanted = kFaster;
  if (wanted == EventBackend::kIoUring) {
    auto uring = UringBackend::make();
    if (uring) {
      loop.backend_ = *std::move(uring);
      return loop;
    }
    const Error& error = uring.error();
    loop.refusal_ = error.what + ": " + std::strerror(error.code);
  }
  auto epoll = EpollBackend::make();
  if (!epoll) return pass(epoll, "loop");
  loop.backend_ = *std::move(epoll);
  return loop;
}

EventBackend EventLoop::backend() const {
  return std::holds_alternative<UringBackend>(backend_) ? EventBackend::kIoUring
                                                        : EventBackend::kEpoll;
}

Interest EventLoop::interest_in(int fd, std::uint32_t epoll_events) {
  const std::uint64_t generation = ++generation_;
  return {.fd = fd,
          .key = generation << 32 | static_cast<std::uint32_t>(fd),
          .epoll_events = epoll_events};
}

Result<> EventLoop::watch(int fd, std::uint32_t epoll_events, Handler handler) {
  assert(!watches_.contains(fd));
  const Interest interest = interest_in(fd, epoll_events);
  auto added = std::visit([&](auto& backend) { return backend.add(interest); },
                          backend_);
  if (!added) return pass(added, "watch");
  watches_.emplace(fd, Watch{interest, std::move(handler)});
  return {};
}

Result<> EventLoop::change(int fd, std::uint32_t epoll_events) {
  const auto found = watches_.find(fd);
  assert(found != watches_.end());
  const Interest before = found->second.interest;
  found->second.interest = interest_in(fd, epoll_events);
  return std::visit(
      [&](auto& backend) {
        return backend.change(before, found->second.interest);
      },
      backend_);
}

void EventLoop::forget(int fd) {
  const auto found = watches_.find(fd);
  if (found == watches_.end()) return;
  std::visit([&](auto& backend) { backend.remove(found->second.interest); },
             backend_);
  auto node = watches_.extract(found);
  if (turning_) forgotten_.push_back(std::move(node));
}

Result<> EventLoop::handle(const Ready& ready) {
  const auto find = [&] {
    const auto found = watches_.find(fd_of(ready.key));
    const bool is_it =
        found != watches_.end() && found->second.interest.key == ready.key;
    return is_it ? &found->second : nullptr;
  };
  Watch* watch = find();
  // Forgotten or changed by an earlier handler of this turn.
  if (watch == nullptr) return {};
  const std::uint32_t events =
      ready.epoll_events & (watch->interest.epoll_events | kAlways);
  // io_uring also tells of EPOLLRDHUP unasked, and would without end.
  if (events == 0) return {};
  watch->handler(events);
  watch = find();
  if (watch == nullptr) return {};
  return std::visit(
      [&](auto& backend) { return backend.rearm(watch->interest); }, backend_);
}

Result<> EventLoop::turn(Duration timeout) {
  assert(!turning_);
  std::array<Ready, kEventsPerTurn> ready;
  auto count = std::visit(
      [&](auto& backend) { return backend.wait(timeout, std::span{ready}); },
      backend_);
  if (!count) return pass(count, "turn");
  turning_ = true;
  Result<> handled;
  for (std::size_t i = 0; i < *count && handled; ++i) {
    handled = handle(ready[i]);
  }
  turning_ = false;
  forgotten_.clear();
  return handled;
}

Result<PeriodicTimer> PeriodicTimer::make(Duration period) {
  assert(period > Duration::zero());
  PeriodicTimer timer;
  timer.fd_ = Fd{::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)};
  if (!timer.fd_) return fail(errno, "timerfd_create");
  itimerspec setting{};
  setting.it_interval = to_timespec(period);
  const Instant first = between_ticks(monotonic_now() + period, kernel_tick());
  setting.it_value = to_timespec(first.time_since_epoch());
  if (::timerfd_settime(timer.fd_.get(), TFD_TIMER_ABSTIME, &setting,
                        nullptr) != 0)
    return fail(errno, "timerfd_settime");
  return timer;
}

std::uint64_t PeriodicTimer::take() {
  std::uint64_t ticks = 0;
  // EAGAIN: no tick yet. Nothing else can fail on a timer of our own.
  if (::read(fd_.get(), &ticks, sizeof(ticks)) != sizeof(ticks)) return 0;
  return ticks;
}

}  // namespace outrider
