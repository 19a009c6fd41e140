// SPDX-License-Identifier: Apache-2.0
// Minutes to hours ahead: what each VM's last fourteen days say of the slots to
// come, found out beside the loop.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

#include "agent/base/result.h"
#include "agent/base/units.h"
#include "agent/config.h"
#include "agent/foresight_work.h"
#include "agent/sys/fd.h"

namespace outrider {

/// What is known of one VM's long horizon, for people.
struct OutlookFacts {
  const Prospect& prospect;
  MilliCpus peak;            // the largest upper end within the lead time
  bool is_believed = false;  // the reserve follows it
  bool meets_target = false;
};

/// Calls are on the loop thread, but for work(); none of them blocks, but for
/// the destructor. What it learns is handed over by two flags, each of which
/// says whose a value is: the loop's or the worker's.
/// Invariant: a VM is known from its first demand on until a slot has gone by
/// without any.
class Foresight {
 public:
  /// Without a worker: who calls work() is it. Errors: the directory cannot be
  /// made.
  static Result<std::unique_ptr<Foresight>> make(
      const PredictiveConfig& config);
  /// From now on a thread of its own calls work(), of ordinary policy and the
  /// lowest priority. Errors: of eventfd(2).
  Result<> start_worker();
  /// Lets the worker write what the present slot has so far, and waits for it.
  ~Foresight();

  /// So late is it. Takes what the worker has found out and, where a slot has
  /// ended, gives it that.
  void turn(std::int64_t unix_seconds);
  /// What a VM demands now. Returns its peak, so that one search does for both.
  /// Allocates for a VM that is new only. Ignored: what is no UUID.
  MilliCpus add(std::string_view uuid, MilliCpus demand);
  /// The most that is foreseen from the present slot on until the lead time
  /// has passed; 0: nothing that could be relied on.
  MilliCpus peak(std::string_view uuid) const;
  /// None before its first Outlook. Valid until the next call.
  std::optional<OutlookFacts> facts(std::string_view uuid) const;
  const PredictiveConfig& config() const { return config_; }

  /// A piece of what there is to do. False: there is nothing, or the loop has
  /// to turn first.
  bool work();

 private:
  struct Known {
    SlotSamples samples;  // of the present slot
    std::optional<Prospect> prospect;
    MilliCpus peak;  // as foreseen by `prospect`
  };

  Foresight(const PredictiveConfig& config, RollupFiles files);
  void take_prospect();
  void end_slot();
  void begin_slot(Slot slot);
  void announce();
  void hand_over_job();
  void tell_failure();
  void wake();
  MilliCpus upper_end(const Prospect& prospect) const;
  bool is_believed(const Prospect& prospect) const;
  void fill_names(SlotJob& job) const;
  void fill(SlotJob& job) const;
  void put_last();
  void run();

  const PredictiveConfig config_;

  // The loop's.
  std::map<std::string, Known, std::less<>> known_;
  Slot slot_ = 0;
  bool has_begun_ = false;
  bool some_came_ = false;  // the worker has not heard of them
  std::string told_;        // of failures, last

  // Both sides': the worker's while the flag is true.
  SlotJob job_;
  std::optional<Error> failure_;
  std::atomic<bool> job_waits_{false};
  // Both sides': the loop's while the flag is true.
  Prospect prospect_;
  std::atomic<bool> prospect_waits_{false};
  // Both sides': the worker's once it is to stop.
  SlotJob last_job_;
  std::atomic<bool> is_stopping_{false};
  std::atomic<pid_t> worker_tid_{0};

  // The worker's.
  ForesightWork work_;
  Fd wake_;
  std::thread worker_;
};

/// One with its worker, as configured. nullptr: it is not wanted, or cannot be
/// had, which is logged.
std::unique_ptr<Foresight> start_foresight(const PredictiveConfig& config);

}  // namespace outrider
