// SPDX-License-Identifier: Apache-2.0
#include "agent/sys/event_loop.h"

#include <sys/epoll.h>
#include <sys/timerfd.h>

#include <array>
#include <cassert>
#include <cerrno>
#include <utility>

namespace outrider {
namespace {

constexpr int kEventsPerTurn = 64;  // more wait for the next turn

std::uint64_t pack(int fd, std::uint32_t generation) {
  return std::uint64_t{generation} << 32 | static_cast<std::uint32_t>(fd);
}

timespec to_timespec(Duration duration) {
  const auto seconds =
      std::chrono::duration_cast<std::chrono::seconds>(duration);
  return {.tv_sec = seconds.count(), .tv_nsec = (duration - seconds).count()};
}

}  // namespace

Result<EventLoop> EventLoop::make() {
  EventLoop loop;
  loop.epoll_ = Fd{::epoll_create1(EPOLL_CLOEXEC)};
  if (!loop.epoll_) return fail(errno, "epoll_create1");
  return loop;
}

Result<> EventLoop::watch(int fd, std::uint32_t epoll_events, Handler handler) {
  assert(!watches_.contains(fd));
  const std::uint32_t generation = ++generation_;
  epoll_event event{};
  event.events = epoll_events;
  event.data.u64 = pack(fd, generation);
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0)
    return fail(errno, "epoll_ctl: add");
  watches_.emplace(fd, Watch{generation, std::move(handler)});
  return {};
}

Result<> EventLoop::change(int fd, std::uint32_t epoll_events) {
  const auto found = watches_.find(fd);
  assert(found != watches_.end());
  epoll_event event{};
  event.events = epoll_events;
  event.data.u64 = pack(fd, found->second.generation);
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event) != 0)
    return fail(errno, "epoll_ctl: modify");
  return {};
}

void EventLoop::forget(int fd) {
  const auto found = watches_.find(fd);
  if (found == watches_.end()) return;
  // Fails only for what is not watched, which is what is wanted.
  (void)::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
  auto node = watches_.extract(found);
  if (turning_) forgotten_.push_back(std::move(node));
}

Result<> EventLoop::turn(Duration timeout) {
  assert(!turning_);
  std::array<epoll_event, kEventsPerTurn> events;
  const timespec wait = to_timespec(timeout);
  const int ready =
      ::epoll_pwait2(epoll_.get(), events.data(), kEventsPerTurn,
                     timeout < Duration::zero() ? nullptr : &wait, nullptr);
  if (ready < 0 && errno != EINTR) return fail(errno, "epoll_pwait2");
  turning_ = true;
  for (int i = 0; i < ready; ++i) {
    const epoll_event& event = events[static_cast<std::size_t>(i)];
    const auto fd = static_cast<int>(event.data.u64 & 0xffffffffU);
    const auto found = watches_.find(fd);
    if (found == watches_.end() ||
        pack(fd, found->second.generation) != event.data.u64)
      continue;  // forgotten by an earlier handler of this turn
    found->second.handler(event.events);
  }
  turning_ = false;
  forgotten_.clear();
  return {};
}

Result<PeriodicTimer> PeriodicTimer::make(Duration period) {
  assert(period > Duration::zero());
  PeriodicTimer timer;
  timer.fd_ = Fd{::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)};
  if (!timer.fd_) return fail(errno, "timerfd_create");
  itimerspec setting{};
  setting.it_interval = to_timespec(period);
  setting.it_value = setting.it_interval;
  if (::timerfd_settime(timer.fd_.get(), 0, &setting, nullptr) != 0)
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
