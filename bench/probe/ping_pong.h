// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <array>
#include <atomic>
#include <thread>

#include "agent/sys/fd.h"

namespace outrider::bench {

/// Two threads on one CPU that wake each other through pipes: two context
/// switches a round trip, as many as a CPU can make.
/// Invariant: the peer thread runs as long as the object lives.
class PingPong {
 public:
  explicit PingPong(int cpu);
  ~PingPong();
  PingPong(const PingPong&) = delete;
  PingPong& operator=(const PingPong&) = delete;

  /// Round trips for about `seconds`; returns the ns each took.
  double run(double seconds);

  pid_t own_tid() const { return own_tid_; }
  pid_t peer_tid() const { return peer_tid_; }

 private:
  void answer();

  std::array<Fd, 2> there_;
  std::array<Fd, 2> back_;
  int cpu_;
  pid_t own_tid_ = 0;
  std::atomic<pid_t> peer_tid_{0};
  std::thread peer_;
};

void pin_to(int cpu);

}  // namespace outrider::bench
