// SPDX-License-Identifier: Apache-2.0
// Puts every knob back with the agent dead, by the table it left and by the
// xattrs on the cgroups.
#pragma once

#include <string>
#include <vector>

#include "agent/base/result.h"
#include "agent/baseline/restore.h"

namespace outrider {

enum class ReleaseSource : std::uint8_t { kTable, kXattr };

struct ReleasedKnob {
  std::string cgroup;  // this and the following: empty for a bad record
  std::string attribute;
  std::string present;  // what it held; empty: not known
  std::string baseline;
  ReleaseSource source = ReleaseSource::kTable;
  RestoreOutcome outcome = RestoreOutcome::kBad;
  int code = 0;  // errno of what failed
};

/// Every knob that DIR/baseline or an xattr below `cgroup_mount` speaks of.
/// An xattr counts where the table says nothing of its knob. What is settled is
/// forgotten, by both; what failed is kept, to be tried again.
/// kDryRun changes nothing, and needs no lock.
/// Errors: EWOULDBLOCK, an agent is alive; no such mount.
Result<std::vector<ReleasedKnob>> release_all(const std::string& dir,
                                              const std::string& cgroup_mount,
                                              RestoreMode mode);

}  // namespace outrider
