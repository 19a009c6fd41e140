// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>

#include "agent/base/result.h"
#include "agent/base/units.h"

namespace outrider::bench {

/// A stretch in which a guest did not run, though it had work.
struct Gap {
  std::int64_t begin_ns = 0;  // CLOCK_MONOTONIC
  std::int64_t end_ns = 0;
};

/// A process of one thread that behaves as a vCPU: 150 ms of work, then about
/// 350 ms of sleep. It stamps the time in each turn of its loop, so that it is
/// the one that knows when it ran.
/// Invariant: the process dies with this object, and with its maker.
class Guest {
 public:
  /// It works without a pause until `release`. `seed`: of its sleeps.
  static Result<Guest> start(unsigned seed);
  Guest(Guest&& other) noexcept;
  Guest& operator=(Guest&&) = delete;
  Guest(const Guest&) = delete;
  ~Guest();

  void release() const;
  pid_t pid() const { return pid_; }
  std::uint32_t bursts_begun() const;
  std::uint32_t bursts_done() const;
  /// The gap that `when` falls into; false when the guest ran then, or slept.
  bool find_gap(Instant when, Gap& gap) const;

 private:
  struct Shared;
  Guest(pid_t pid, Shared* shared) : pid_(pid), shared_(shared) {}

  pid_t pid_;
  Shared* shared_;
};

}  // namespace outrider::bench
