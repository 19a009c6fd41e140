// SPDX-License-Identifier: Apache-2.0
#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "agent/sys/clock.h"
#include "agent/sys/event_backend.h"

namespace outrider {
namespace {

constexpr std::size_t kEventsPerTurn = 64;  // more wait for the next turn

epoll_event to_event(const Interest& interest) {
  epoll_event event{};
  event.events = interest.epoll_events;
  event.data.u64 = interest.key;
  return event;
}

}  // namespace

Result<EpollBackend> EpollBackend::make() {
  EpollBackend backend;
  backend.epoll_ = Fd{::epoll_create1(EPOLL_CLOEXEC)};
  if (!backend.epoll_) return fail(errno, "epoll_create1");
  return backend;
}

Result<> EpollBackend::add(const Interest& interest) {
  epoll_event event = to_event(interest);
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, interest.fd, &event) != 0)
    return fail(errno, "epoll_ctl: add");
  return {};
}

Result<> EpollBackend::change(const Interest&, const Interest& after) {
  epoll_event event = to_event(after);
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, after.fd, &event) != 0)
    return fail(errno, "epoll_ctl: modify");
  return {};
}

void EpollBackend::remove(const Interest& interest) {
  // Fails only for what is not watched, which is what is wanted.
  (void)::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, interest.fd, nullptr);
}

Result<std::size_t> EpollBackend::wait(Duration timeout,
                                       std::span<Ready> ready) {
  std::array<epoll_event, kEventsPerTurn> events;
  const timespec wait = to_timespec(timeout);
  const auto room = static_cast<int>(std::min(ready.size(), events.size()));
  const int count =
      ::epoll_pwait2(epoll_.get(), events.data(), room,
                     timeout < Duration::zero() ? nullptr : &wait, nullptr);
  if (count < 0 && errno != EINTR) return fail(errno, "epoll_pwait2");
  for (int i = 0; i < count; ++i) {
    const auto at = static_cast<std::size_t>(i);
    ready[at] = {.key = events[at].data.u64, .epoll_events = events[at].events};
  }
  return static_cast<std::size_t>(std::max(count, 0));
}

}  // namespace outrider
