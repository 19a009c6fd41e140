// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "agent/base/result.h"
#include "agent/base/units.h"
#include "agent/sys/event_backend.h"
#include "agent/sys/fd.h"

namespace outrider {

enum class EventBackend : std::uint8_t { kAuto, kIoUring, kEpoll };

/// Waits for descriptors and calls their handlers, on the thread that made it.
/// Invariant: every watched descriptor is open; its owner calls `forget` before
/// it closes it. A handler may watch or forget any descriptor, its own too.
class EventLoop {
 public:
  using Handler = std::function<void(std::uint32_t epoll_events)>;

  /// Takes epoll where the kernel refuses io_uring; `refusal` says why then.
  static Result<EventLoop> make(EventBackend wanted = EventBackend::kAuto);
  EventBackend backend() const;
  const std::string& refusal() const { return refusal_; }
  /// `epoll_events` as in epoll_ctl(2), e.g. EPOLLIN: told as long as it is so.
  Result<> watch(int fd, std::uint32_t epoll_events, Handler handler);
  Result<> change(int fd, std::uint32_t epoll_events);
  void forget(int fd);
  /// Handles what is ready, waiting for it up to `timeout` (negative: for
  /// ever, or a signal). Allocates nothing of its own. Not for handlers.
  Result<> turn(Duration timeout);

 private:
  struct Watch {
    // Its key tells an event of this watch from one of an earlier watch of a
    // descriptor with the same number.
    Interest interest;
    Handler handler;
  };

  Interest interest_in(int fd, std::uint32_t epoll_events);
  Result<> handle(const Ready& ready);

  std::variant<EpollBackend, UringBackend> backend_;
  std::string refusal_;
  std::map<int, Watch> watches_;
  std::uint32_t generation_ = 0;
  bool turning_ = false;
  // Forgotten during a turn: a handler may be the one that is running.
  std::vector<std::map<int, Watch>::node_type> forgotten_;
};

/// A periodic timer (timerfd, CLOCK_MONOTONIC). Missed ticks are skipped.
class PeriodicTimer {
 public:
  /// First after `period` or a kernel tick more: between two of the kernel's
  /// ticks, which are when edges come. So they find the loop at rest.
  static Result<PeriodicTimer> make(Duration period);
  int fd() const { return fd_.get(); }
  /// Ticks since the last call; 0 when there was none.
  std::uint64_t take();

 private:
  Fd fd_;
};

}  // namespace outrider
