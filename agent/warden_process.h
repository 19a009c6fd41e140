// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <string>

#include "agent/base/result.h"
#include "agent/base/units.h"
#include "agent/baseline/lifeline.h"
#include "agent/sys/fd.h"

namespace outrider {

struct WardenOptions {
  std::string program;  // empty: outrider-warden beside this program
  int table_fd = -1;    // of the BaselineTable
  int mount_fd = -1;    // the cgroup v2 mount
  Duration hang = std::chrono::milliseconds{200};
  int priority = 0;  // SCHED_FIFO, above the loop's; 0: an ordinary process
};

/// The warden of this process. Invariant: it was watching when `start` came
/// back. Started and destroyed by the thread that writes the knobs, whose end
/// it sees at once. Destroying this leaves it at work: it sees this process
/// end.
class WardenProcess {
 public:
  /// Waits until it watches, at most half a second. Errors: it cannot be
  /// started, or ended with a word on stderr.
  static Result<WardenProcess> start(const WardenOptions& options);

  /// Becomes readable when it has died: then nothing may be enforced until
  /// another is started.
  int fd() const { return pidfd_.get(); }
  pid_t pid() const { return pid_; }
  bool is_alive() const;

  /// Ends it, or buries it when it is dead. While it is alive, only after every
  /// baseline is back and every record forgotten.
  void stop();

 private:
  WardenProcess(pid_t pid, Fd pidfd, Lifeline lifeline)
      : pid_(pid), pidfd_(std::move(pidfd)), lifeline_(std::move(lifeline)) {}

  pid_t pid_ = -1;  // -1: waited for
  Fd pidfd_;
  Lifeline lifeline_;
};

}  // namespace outrider
