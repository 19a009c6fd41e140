// SPDX-License-Identifier: Apache-2.0
#include "agent/cpu_hands.h"

#include <utility>

namespace outrider {

Result<std::unique_ptr<CpuHands>> CpuHands::take(const CgroupTree& tree,
                                                 const HandsOptions& options) {
  auto table = BaselineTable::open(options.directory, tree.mount());
  if (!table) return pass(table, "baseline");
  auto foreign = ForeignWrites::make(tree);
  if (!foreign) return pass(foreign, "other writers");
  auto hands =
      std::make_unique<CpuHands>(tree, std::move(*table), std::move(*foreign));
  hands->warden_options = {
      .program = "",
      .table_fd = hands->table.fd(),
      .mount_fd = tree.fd(),
      .hang = options.hang_deadline,
      .priority = options.loop_priority > 0 ? options.loop_priority + 1 : 0};
  auto started = hands->start_warden();
  if (!started) return pass(started, "warden");
  return hands;
}

Result<> CpuHands::start_warden() {
  auto started = WardenProcess::start(warden_options);
  if (!started) return pass(started, "start");
  warden.emplace(std::move(*started));
  return {};
}

}  // namespace outrider
