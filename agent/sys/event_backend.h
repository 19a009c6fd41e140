// SPDX-License-Identifier: Apache-2.0
// What waits for descriptors, behind EventLoop. Both are level-triggered.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "agent/base/result.h"
#include "agent/base/units.h"
#include "agent/sys/fd.h"

struct io_uring;

namespace outrider {

/// What a descriptor is watched for. `key` is never 0 and never used again.
struct Interest {
  int fd = -1;
  std::uint64_t key = 0;
  std::uint32_t epoll_events = 0;
};

/// An Interest that is to be handled.
struct Ready {
  std::uint64_t key = 0;
  std::uint32_t epoll_events = 0;
};

class EpollBackend {
 public:
  EpollBackend() = default;  // watches nothing, and cannot
  static Result<EpollBackend> make();

  Result<> add(const Interest& interest);
  Result<> change(const Interest& before, const Interest& after);
  void remove(const Interest& interest);
  /// Fills `ready` as far as it goes; returns how many there are.
  Result<std::size_t> wait(Duration timeout, std::span<Ready> ready);
  /// After each that `wait` gave and that is still watched.
  Result<> rearm(const Interest&) { return {}; }

 private:
  Fd epoll_;
};

/// Polls through a ring. A poll tells once and is armed again by the syscall
/// that waits next, so that what is still ready is told again: multishot polls
/// tell of changes only.
/// Invariant: one thread uses it, the one that made it.
class UringBackend {
 public:
  /// Errors: this kernel is before 6.1, or does not let us.
  static Result<UringBackend> make();

  Result<> add(const Interest& interest);
  Result<> change(const Interest& before, const Interest& after);
  void remove(const Interest& interest);
  Result<std::size_t> wait(Duration timeout, std::span<Ready> ready);
  Result<> rearm(const Interest& interest);

 private:
  struct Exit {
    void operator()(io_uring* ring) const;
  };
  explicit UringBackend(std::unique_ptr<io_uring, Exit> ring);
  std::size_t take(std::span<Ready> ready, int& error);

  std::unique_ptr<io_uring, Exit> ring_;
};

}  // namespace outrider
