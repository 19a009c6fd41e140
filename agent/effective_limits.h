// SPDX-License-Identifier: Apache-2.0
// What a VM's knobs come to in the tree that it is in: for people, off the
// tick. A cgroup may be given more than its ancestors without an error.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "agent/base/result.h"
#include "agent/base/units.h"
#include "agent/cgroup.h"
#include "agent/core/policy.h"

namespace outrider {

struct PathCap {
  std::string cgroup;
  MilliCpus cap = kNoCap;

  friend bool operator==(const PathCap&, const PathCap&) = default;
};

struct EffectiveCap {
  std::vector<PathCap> path;  // from the top; those that have a cpu.max
  PathCap binding;            // the least of them; kNoCap: none is capped

  friend bool operator==(const EffectiveCap&, const EffectiveCap&) = default;
};
/// cpu.max of `cgroup` and everything above it. Where two are as low, the lower
/// one in the tree binds. Errors: `cgroup` is gone.
Result<EffectiveCap> read_effective_cap(const CgroupTree& tree,
                                        const std::string& cgroup);

/// What a VM may count on when all its siblings are busy.
struct WeightShare {
  std::string cgroup;           // where it has siblings
  std::int64_t weight = 0;      // 0: idle
  std::int64_t weight_sum = 0;  // of all siblings that run something, with its
  std::int64_t share_permille = 0;

  friend bool operator==(const WeightShare&, const WeightShare&) = default;
};
/// Errors: `cgroup` is gone; it has no cpu controller.
Result<WeightShare> read_weight_share(const CgroupTree& tree,
                                      const std::string& cgroup);

}  // namespace outrider
