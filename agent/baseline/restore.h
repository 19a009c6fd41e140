// SPDX-License-Identifier: Apache-2.0
// Puts baselines back. Nothing here allocates: the warden, whose memory is
// locked and whose host may have none left, uses it.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "agent/baseline/layout.h"
#include "agent/baseline/mark.h"

namespace outrider {

enum class RestoreOutcome : std::uint8_t {
  kRestored,  // the baseline is written and read back
  kAlready,   // it was there
  kForeign,   // somebody else has written since: left alone
  kGone,      // the cgroup is no more
  kFailed,    // the kernel refused, or the read-back differs
  kBad,       // the record is torn or forged: left alone
};

/// One knob. The texts are valid while the visitor runs.
struct RestoreStep {
  std::uint32_t record = 0;  // index in the table
  std::string_view cgroup;   // this and the following: empty for kBad
  std::string_view attribute;
  std::string_view present;  // what it held
  std::string_view baseline;
  RestoreOutcome outcome = RestoreOutcome::kBad;
  int code = 0;  // errno of what failed
};
using RestoreVisitor = std::function<void(const RestoreStep&)>;

struct RestoreReport {
  std::uint32_t restored = 0;
  std::uint32_t already = 0;
  std::uint32_t foreign = 0;
  std::uint32_t gone = 0;
  std::uint32_t failed = 0;
  std::uint32_t bad = 0;
};

enum class RestoreMode : std::uint8_t {
  kWrite,
  kDryRun,  // writes nothing; kRestored then means that it would be
};

/// Every live record of `file`, which is of this boot. A knob is written only
/// where it holds what its record says that we put there. It is safe to do
/// again, at any time, from one thread of a process. Cgroup by cgroup, by their
/// ids. Records stay as they are, for the agent may be alive.
RestoreReport restore_all(int mount, BaselineFile& file,
                          RestoreMode mode = RestoreMode::kWrite,
                          const RestoreVisitor& visitor = {});

/// The first line of a knob, without the end of line. `bytes` is minus the
/// errno where it could not be read.
struct KnobText {
  char buffer[128];
  int bytes = 0;

  std::string_view text() const {
    return {buffer, static_cast<std::size_t>(bytes > 0 ? bytes : 0)};
  }
};
struct MarkedStep {
  KnobText present;  // what it held
  RestoreOutcome outcome = RestoreOutcome::kFailed;
  int code = 0;
};
/// One knob by its xattr alone, where there is no record of it: whatever it
/// holds is held to be ours.
MarkedStep restore_marked(int cgroup, const Mark& mark, RestoreMode mode);

}  // namespace outrider
