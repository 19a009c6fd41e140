// SPDX-License-Identifier: Apache-2.0
// Tells one process that a thread of another has ended, as the first thing that
// happens in its end. A pidfd tells it as the last: after the kernel has closed
// all files, and closing an inotify waits for a worker that a busy host lets
// wait, for up to 200 ms.
#pragma once

#include <pthread.h>

#include <cstdint>

#include "agent/base/result.h"
#include "agent/base/units.h"
#include "agent/sys/fd.h"

namespace outrider {

/// A robust mutex in memory of its own. Invariant: where `make` made it, the
/// thread that did holds the mutex until this is destroyed, by that thread.
class Lifeline {
 public:
  static Result<Lifeline> make();
  /// The other end. `fd` may be closed after it.
  static Result<Lifeline> open(int fd);
  Lifeline(Lifeline&& other) noexcept;
  Lifeline& operator=(Lifeline other) noexcept;
  ~Lifeline();

  int fd() const { return fd_.get(); }

  enum class News : std::uint8_t {
    kNone,   // it lives
    kEnded,  // the thread that made it has ended, and does nothing any more
    kLetGo,  // it tells nothing any more: the other end was destroyed
  };
  /// For the other end: waits until there is news, or until then. Allocates
  /// nothing.
  News wait(Instant until);

 private:
  Lifeline(Fd fd, pthread_mutex_t* mutex) : fd_(std::move(fd)), mutex_(mutex) {}
  Fd fd_;  // none at the other end
  pthread_mutex_t* mutex_ = nullptr;
};

}  // namespace outrider
