// SPDX-License-Identifier: Apache-2.0
// A BaselineTable in memory, linked in the place of the real one, to look into
// and to raise the generation of at any moment.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "agent/baseline/table.h"

namespace outrider {

struct FakeRecord {
  KnobBaseline knob;
  std::string announced;
  std::string confirmed;
};

struct FakeBaseline {
  std::map<std::uint32_t, FakeRecord> live;  // by slot
  std::uint64_t generation = 0;
  int refuse_with = 0;  // what `remember` fails with
  std::function<void()> on_announce;

  /// The live record of a knob, nullptr when there is none.
  const FakeRecord* find(const std::string& cgroup,
                         const std::string& attribute) const;
};

/// The one that every BaselineTable of this program is; `reset` empties it.
FakeBaseline& fake_baseline();
void reset_fake_baseline();

}  // namespace outrider
