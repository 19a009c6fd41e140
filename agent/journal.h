// SPDX-License-Identifier: Apache-2.0
// The decision journal: what the loop decides, to files, off the loop.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "agent/base/result.h"
#include "agent/base/units.h"
#include "agent/config.h"
#include "agent/core/controller.h"
#include "agent/core/journal_record.h"
#include "agent/journal_files.h"
#include "agent/journal_ring.h"
#include "agent/sys/fd.h"

namespace outrider {

struct JournalStatus {
  std::uint64_t bytes = 0;     // written since the start
  std::uint64_t segments = 0;  // begun since the start
  std::uint64_t dropped = 0;   // records that are in no segment
  std::uint64_t failures = 0;  // of writing; after each it stands still 10 s
  bool is_writing = false;     // records are being taken
};

/// Takes every call that changes a Controller, in order, just after it was
/// made. All calls are on the loop thread; none of them blocks, and those for
/// ticks and edges allocate nothing and make no syscall. A thread of its own,
/// of ordinary priority, writes.
/// Invariant: each segment on disk holds all calls from its head to its end or
/// its gap. What does not fit is dropped, and a gap ends the segment.
class Journal {
 public:
  struct Options {
    JournalConfig config;
    std::string configuration;  // in effect, as YAML
    // How much may wait to be written. At 1,000 busy VMs about a second.
    std::size_t ring_bytes = std::size_t{1} << 20;
    Duration retry_after = std::chrono::seconds{10};
  };

  /// Begins to write once begin_segment() was called. Errors: the directory
  /// cannot be made or read.
  static Result<std::unique_ptr<Journal>> make(Options options);
  /// Writes out what it has.
  ~Journal();

  /// A tick that was decided and, unless `outcomes` is empty, settled.
  void tick(const TickInput& input, const Decision& decision,
            const Controller& controller);
  void edge(const EdgeInput& edge, const Decision& decision);
  /// Any other call, e.g. RemoveCall{vm}.
  void call(const JournalRecord& record);
  /// As call(PolicyCall), and the heads to come have it.
  void change_policy(const Policy& policy, std::string configuration);

  /// Logs what went wrong, and begins a segment where one is due. Copies all
  /// that the Controller knows (9 KiB a VM), so it is for the slow tick. Errors
  /// of writing are told here, once each.
  void slow_tick(const Controller& controller, Instant now);

  /// The last: a segment that holds all that was learned, for the next agent.
  void finish(const Controller& controller, Instant now);

  JournalStatus status() const;
  const std::string& directory() const { return options_.config.directory; }

 private:
  Journal(Options options, JournalFiles files);
  bool wants_segment() const;
  bool takes_records();
  void push();
  void drop();
  void begin_segment(const Controller& controller, Instant now);

  // The writer's.
  void write_out();
  void write_some();
  bool write_head();
  void fail_writing(const Error& error);

  const Options options_;
  std::string configuration_;
  std::string boot_id_;

  // The loop's.
  JournalEncoder encoder_;
  std::vector<std::byte> record_;  // scratch
  bool is_recording_ = false;
  bool has_begun_ = false;
  std::uint64_t failures_seen_ = 0;
  std::uint64_t failures_logged_ = 0;
  std::uint64_t segments_logged_ = ~std::uint64_t{0};  // of the last failure
  std::uint64_t segment_bytes_ = 0;                    // of its calls
  std::uint64_t dropped_ = 0;
  std::uint64_t dropped_told_ = 0;  // in the last head

  // Both sides'. `head_` is the loop's until head_waits_ is true, then the
  // writer's until it is false.
  JournalRing ring_;
  std::vector<std::byte> head_;
  std::uint64_t head_at_ = 0;  // place in the ring's stream; as head_
  std::atomic<bool> head_waits_{false};
  std::atomic<std::uint64_t> failures_{0};
  std::atomic<int> failure_{0};  // errno of the last
  std::atomic<bool> stands_still_{false};
  std::atomic<std::uint64_t> bytes_{0};
  std::atomic<std::uint64_t> segments_{0};

  // The writer's.
  JournalFiles files_;
  Instant retry_at_{};
  Fd stop_;
  std::thread writer_;
};

}  // namespace outrider
