// SPDX-License-Identifier: Apache-2.0
// What is done for the long horizon beside the loop: the VMs' roll-ups are
// kept, and each VM's Outlook is run over its own.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "agent/config.h"
#include "agent/horizon/outlook.h"
#include "agent/horizon/rollup.h"
#include "agent/rollup_files.h"

namespace outrider {

/// All VMs that are here, and what they demanded in one slot. Without figures
/// (NaN): it only is here.
struct SlotJob {
  struct Entry {
    std::string uuid;
    SlotFigures figures;
  };
  Slot slot = 0;
  std::vector<Entry> entries;
};

/// What one VM's Outlook says.
struct Prospect {
  std::string uuid;
  std::size_t known = 0;   // slots of its history that were seen
  const char* model = "";  // that an hour ahead is of; none: ""
  std::size_t season = 0;  // slots; 0: none
  std::size_t judged = 0;  // forecasts an hour ahead that were held to it
  double held = 0;         // share of them whose upper end was not passed
  double accuracy = 0;     // of them: 1 - error by demand, not below 0
  Slot first = 0;          // that upper[0] is of
  // Milli-CPU, of slots to come: of their p95s. Empty: too early.
  std::vector<float> upper;
};

/// Deterministic but for the files. Invariant: nothing of an Outlook is kept,
/// so that memory is bounded by one VM's.
class ForesightWork {
 public:
  /// A look that is under way is given up as soon as `is_stopping`.
  ForesightWork(const PredictiveConfig& config, RollupFiles files,
                const std::atomic<bool>& is_stopping);

  /// Brings the VMs' files up to date, and removes old ones once a day, first
  /// a day after the clock was set. VMs that are not in `job` are forgotten;
  /// those that are new are due at once, and so are all if the clock went back.
  void put(const SlotJob& job);
  /// Runs the Outlook of the VM that has been due for longest: each hour, not
  /// all in the same slot. False: none is; `prospect` means nothing then.
  bool look(Prospect& prospect);

  /// The last failure to read or write a file since the call before.
  std::optional<Error> take_failure() { return std::exchange(failure_, {}); }

 private:
  /// A VM that is here.
  struct Here {
    Slot due = 0;  // of its Outlook
    // Slots in a row that its roll-up was ahead of by too much, or behind.
    std::uint32_t ahead = 0;
    std::uint32_t behind = 0;
  };

  void follow_clock(Slot slot);
  // Counts the slots in a row that it is.
  bool is_clock_doubtful(const Rollup& rollup, Here& here) const;
  void put(const SlotJob::Entry& entry, Here& here);
  bool look(const std::string& uuid, Prospect& prospect);

  RollupFiles files_;
  OutlookOptions options_;
  const std::atomic<bool>& is_stopping_;
  std::map<std::string, Here, std::less<>> here_;
  Slot slot_ = 0;  // of the last job
  std::optional<Slot> clean_due_;
  std::optional<Error> failure_;
};

}  // namespace outrider
