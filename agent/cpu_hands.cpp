// SPDX-License-Identifier: Apache-2.0
#include "agent/cpu_hands.h"

#include <utility>

#include "agent/baseline/release.h"
#include "agent/log.h"

namespace outrider {
namespace {

// What an agent and its warden that died together left. It has to be back
// before any knob is read: what stands there now is not its owner's choice.
Result<> put_back_what_was_left(const std::string& directory,
                                const CgroupTree& tree) {
  auto knobs = release_all(directory, tree.mount(), RestoreMode::kWrite);
  if (!knobs) return pass(knobs, "put back");
  std::size_t restored = 0;
  for (const ReleasedKnob& knob : *knobs) {
    restored += knob.outcome == RestoreOutcome::kRestored ? 1 : 0;
    if (knob.outcome != RestoreOutcome::kFailed) continue;
    log_error("restore knob={}/{} errno={} next=\"its record is kept\"",
              one_word(knob.cgroup), one_word(knob.attribute), knob.code);
  }
  if (restored > 0) {
    log_warning("restore knobs={} what=\"of an agent that died\"", restored);
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<CpuHands>> CpuHands::take(const CgroupTree& tree,
                                                 const HandsOptions& options) {
  auto restored = put_back_what_was_left(options.directory, tree);
  if (!restored) return tl::unexpected<Error>(std::move(restored.error()));
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
