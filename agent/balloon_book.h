// SPDX-License-Identifier: Apache-2.0
// What balloons were before Outrider, kept where a crash does not reach it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "agent/base/result.h"
#include "agent/base/units.h"
#include "agent/proc.h"
#include "agent/vm.h"

namespace outrider {

/// One balloon that Outrider has set.
struct HeldBalloon {
  pid_t pid = 0;
  std::uint64_t start_ticks = 0;  // with the pid: this very process
  Bytes baseline;                 // what it left the guest before
  Bytes target;                   // what it was set to last

  friend bool operator==(const HeldBalloon&, const HeldBalloon&) = default;
};

/// A file of lines in the run directory, which a restart of the host empties,
/// as it ends the VMs. It is written beside its place and renamed there.
/// Invariant: the file says what `held` says, as of the last call that did not
/// fail.
class BalloonBook {
 public:
  /// Reads what an agent that died may have left; lines that are none, or of
  /// processes that are no more, are passed over. Errors: the directory cannot
  /// be made.
  static Result<BalloonBook> open(const std::string& directory,
                                  const ProcRoot& proc);

  /// nullptr: it was not set.
  const HeldBalloon* find(const VmIdentity& vm) const;
  /// Before it is set. Errors: it could not be written; then do not set it.
  Result<> note(const HeldBalloon& balloon);
  /// It is as it was, or its VM is gone. Errors: as of `note`.
  Result<> forget(const VmIdentity& vm);

  const std::vector<HeldBalloon>& held() const { return held_; }

 private:
  explicit BalloonBook(std::string path) : path_(std::move(path)) {}
  Result<> write() const;

  std::string path_;
  std::vector<HeldBalloon> held_;
};

}  // namespace outrider
