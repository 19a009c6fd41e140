// SPDX-License-Identifier: Apache-2.0
// Makes the calls of a journal's segment once more, and compares what is
// decided now with what was decided then.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "agent/base/result.h"
#include "agent/base/units.h"
#include "agent/core/controller.h"
#include "agent/core/journal_record.h"

namespace outrider {

/// The first place where a decision is not what the journal says.
struct Difference {
  std::uint64_t record = 0;
  Instant at{};
  VmId vm{};
  bool has_vm = false;  // else it is of all VMs together
  std::string field;
  std::string journal;
  std::string now;
};

struct ReplayCounts {
  std::uint64_t records = 0;
  std::uint64_t ticks = 0;
  std::uint64_t edges = 0;
  std::uint64_t vm_ticks = 0;
  std::uint64_t writes = 0;  // that were applied
};

/// Invariant: controller() is what the recorded one was after the last record
/// that was taken, as long as there is no difference.
class JournalReplay {
 public:
  explicit JournalReplay(ForecasterFactory make_forecaster);

  /// The segment's next record. Errors: it makes no sense where it stands; the
  /// replay is over then. After a difference records change nothing.
  Result<> take(const JournalRecord& record);

  const std::optional<Difference>& difference() const { return difference_; }
  /// nullptr: the segment's state has not been read.
  Controller* controller() { return controller_.get(); }
  /// The segment's head, as far as it was read.
  const SegmentHead& head() const { return head_; }
  /// When the last tick or edge was, or the head.
  Instant now() const { return now_; }
  /// All VMs that were seen so far.
  const std::set<VmId>& vms() const { return vms_; }
  /// What was taken so far.
  const ReplayCounts& counts() const { return counts_; }
  /// Records were dropped where the segment ends.
  bool ends_in_gap() const { return ends_in_gap_; }

 private:
  Result<> make(const SegmentHead& head);
  Result<> make(const StateChunk& chunk);
  Result<> make(const TickCall* call);
  Result<> make(const EdgeCall* call);
  template <class Call>
  Result<> make(const Call& call);
  Result<> make(const Gap& gap);
  Result<> load();
  bool compare(std::span<const Action> journal, std::span<const Action> now);
  void differ(std::optional<VmId> vm, std::string field, std::string journal,
              std::string now);

  ForecasterFactory make_forecaster_;
  std::unique_ptr<Controller> controller_;
  SegmentHead head_;
  std::vector<std::byte> state_;
  std::set<VmId> vms_;
  Instant now_{};
  ReplayCounts counts_;
  std::optional<Difference> difference_;
  bool ends_in_gap_ = false;
};

/// Makes a call that is neither tick nor edge; nothing for a head, state or
/// gap. Errors: a VM's number that is not new.
Result<> repeat_call(const JournalRecord& record, Controller& controller);

}  // namespace outrider
