// SPDX-License-Identifier: Apache-2.0
#include "agent/cpu_hands.h"

#include <utility>

namespace outrider {

Result<std::unique_ptr<CpuHands>> CpuHands::take(const CgroupTree& tree,
                                                 const std::string& directory) {
  auto table = BaselineTable::open(directory, tree.mount());
  if (!table) return pass(table, "baseline");
  auto foreign = ForeignWrites::make(tree);
  if (!foreign) return pass(foreign, "enforce");
  return std::make_unique<CpuHands>(tree, std::move(*table),
                                    std::move(*foreign));
}

}  // namespace outrider
