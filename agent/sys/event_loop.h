// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>

#include "agent/base/result.h"
#include "agent/base/units.h"
#include "agent/sys/fd.h"

namespace outrider {

/// Waits for descriptors with epoll and calls their handlers, on one thread.
/// Invariant: every watched descriptor is open; its owner calls `forget` before
/// it closes it. A handler may watch or forget any descriptor, its own too.
class EventLoop {
 public:
  using Handler = std::function<void(std::uint32_t epoll_events)>;

  static Result<EventLoop> make();
  /// `epoll_events` as in epoll_ctl(2), e.g. EPOLLIN.
  Result<> watch(int fd, std::uint32_t epoll_events, Handler handler);
  Result<> change(int fd, std::uint32_t epoll_events);
  void forget(int fd);
  /// Handles what is ready, waiting for it up to `timeout` (negative: for ever).
  Result<> turn(Duration timeout);

 private:
  Fd epoll_;
  std::map<int, Handler> handlers_;
};

/// A periodic timer (timerfd, CLOCK_MONOTONIC). Missed ticks are skipped.
class PeriodicTimer {
 public:
  static Result<PeriodicTimer> make(Duration period);
  int fd() const { return fd_.get(); }
  /// Ticks since the last call; 0 when there was none.
  std::uint64_t take();

 private:
  Fd fd_;
};

}  // namespace outrider
