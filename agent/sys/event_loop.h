// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <vector>

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
  /// Handles what is ready, waiting for it up to `timeout` (negative: for
  /// ever). Allocates nothing of its own. Not to be called by a handler.
  Result<> turn(Duration timeout);

 private:
  struct Watch {
    // Tells an event of this watch from one of an earlier watch of a
    // descriptor with the same number.
    std::uint32_t generation = 0;
    Handler handler;
  };

  Fd epoll_;
  std::map<int, Watch> watches_;
  std::uint32_t generation_ = 0;
  bool turning_ = false;
  // Forgotten during a turn: a handler may be the one that is running.
  std::vector<std::map<int, Watch>::node_type> forgotten_;
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
