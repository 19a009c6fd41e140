// SPDX-License-Identifier: Apache-2.0
#include "agent/warm_start.h"

#include <cerrno>

#include "agent/baseline/mapping.h"
#include "agent/core/journal_replay.h"
#include "agent/journal_files.h"
#include "agent/sys/mapped_file.h"

namespace outrider {
namespace {

constexpr Duration kTooOld = std::chrono::minutes{10};

/// Up to the first call: the head and the state.
Result<> read_state(const std::string& path, JournalReplay& replay) {
  auto file = map_file(path);
  if (!file) return pass(file, "what was learned");
  JournalReader reader(file->span());
  while (replay.controller() == nullptr) {
    auto record = reader.next();
    if (!record) return pass(record, path);
    if (!*record) return fail(0, path + " ends before its state does");
    auto taken = replay.take(**record);
    if (!taken) return pass(taken, path);
  }
  return {};
}

}  // namespace

Result<Duration> inherit_from_journal(const std::string& directory,
                                      const ForecasterFactory& make_forecaster,
                                      Instant now, Controller& controller) {
  auto segments = find_segments(directory);
  if (!segments && segments.error().code != ENOENT) {
    return pass(segments, "what was learned");
  }
  if (!segments || segments->empty()) {
    return fail(0, directory + " has no journal yet");
  }
  JournalReplay replay(make_forecaster);
  auto read = read_state(segments->back(), replay);
  if (!read) return pass(read, "what was learned");
  auto boot_id = read_boot_id();
  if (!boot_id) return pass(boot_id, "what was learned");
  const Duration ago = now - replay.head().at;
  if (replay.head().boot_id != *boot_id || ago < Duration{}) {
    return fail(0, segments->back() + " is of another boot");
  }
  if (ago > kTooOld) {
    return fail(0, segments->back() + " is " +
                       std::to_string(ago / std::chrono::minutes{1}) +
                       " minutes old");
  }
  controller.inherit(*replay.controller(), ago);
  return ago;
}

}  // namespace outrider
