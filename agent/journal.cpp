// SPDX-License-Identifier: Apache-2.0
#include "agent/journal.h"

#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "agent/baseline/mapping.h"
#include "agent/blocked_signals.h"
#include "agent/log.h"
#include "agent/sys/clock.h"

namespace outrider {
namespace {

// How long what was decided stays in memory alone.
constexpr int kWritePeriodMs = 20;

// There is always room for the record that says that something is missing.
constexpr std::size_t kGapBytes = 32;

// Room for a tick of 1,000 VMs, so that few grow it.
constexpr std::size_t kRecordBytes = std::size_t{64} << 10;

// More than one takes now: what is not used is not touched.
constexpr std::size_t kStateBytesOfVm = std::size_t{16} << 10;

}  // namespace

Result<std::unique_ptr<Journal>> Journal::make(Options options) {
  auto files =
      JournalFiles::open(options.config.directory, options.config.bytes_max);
  if (!files) return pass(files, "journal");
  auto boot_id = read_boot_id();
  if (!boot_id) return pass(boot_id, "journal");
  std::unique_ptr<Journal> journal(
      new Journal(std::move(options), *std::move(files)));
  journal->boot_id_ = *std::move(boot_id);
  journal->stop_ = Fd{::eventfd(0, EFD_CLOEXEC)};
  if (!journal->stop_) return fail(errno, "journal: eventfd");
  const AllSignalsBlocked blocked;
  journal->writer_ = std::thread([it = journal.get()] { it->write_out(); });
  return journal;
}

Journal::Journal(Options options, JournalFiles files)
    : options_(std::move(options)),
      configuration_(options_.configuration),
      ring_(options_.ring_bytes),
      files_(std::move(files)) {
  record_.reserve(kRecordBytes);
}

Journal::~Journal() {
  if (!writer_.joinable()) return;
  const std::uint64_t one = 1;
  // An eventfd that has room takes it.
  (void)!::write(stop_.get(), &one, sizeof(one));
  writer_.join();
}

// --- The loop's side --------------------------------------------------------

bool Journal::takes_records() {
  if (is_recording_ &&
      failures_.load(std::memory_order_acquire) != failures_seen_) {
    is_recording_ = false;  // the segment has ended
  }
  if (!is_recording_ && has_begun_) ++dropped_;
  return is_recording_;
}

// `record_` was not taken in, so nothing that follows could be made again.
void Journal::drop() {
  ++dropped_;
  record_.clear();
  encoder_.call(Gap{}, record_);
  ring_.push(record_);
  is_recording_ = false;
}

void Journal::push() {
  if (record_.size() + kGapBytes > ring_.room()) return drop();
  ring_.push(record_);
  segment_bytes_ += record_.size();
}

void Journal::tick(const TickInput& input, const Decision& decision,
                   const Controller& controller) {
  if (!takes_records()) return;
  if (!is_recordable(input)) return drop();
  record_.clear();
  encoder_.tick(input, decision, allocations_checksum(controller), record_);
  push();
}

void Journal::edge(const EdgeInput& edge, const Decision& decision) {
  if (!takes_records()) return;
  record_.clear();
  encoder_.edge(edge, decision, record_);
  push();
}

void Journal::call(const JournalRecord& record) {
  if (!takes_records()) return;
  record_.clear();
  encoder_.call(record, record_);
  push();
}

void Journal::change_policy(const Policy& policy, std::string configuration) {
  configuration_ = configuration;
  call(PolicyCall{.policy = policy, .configuration = std::move(configuration)});
}

bool Journal::wants_segment() const {
  if (head_waits_.load(std::memory_order_acquire)) return false;
  if (stands_still_.load(std::memory_order_acquire)) return false;
  const JournalConfig& config = options_.config;
  return !is_recording_ ||
         segment_bytes_ >= std::min(config.segment_bytes, config.bytes_max / 4);
}

void Journal::slow_tick(const Controller& controller, Instant now) {
  const std::uint64_t failures = failures_.load(std::memory_order_acquire);
  if (failures != failures_seen_) is_recording_ = false;
  const std::uint64_t segments = segments_.load(std::memory_order_relaxed);
  // Once, until something could be written again.
  if (failures != failures_logged_ && segments != segments_logged_) {
    log_error("journal directory={} error=\"{}\" next=\"again every {} s\"",
              one_word(options_.config.directory),
              std::strerror(failure_.load(std::memory_order_relaxed)),
              options_.retry_after / std::chrono::seconds{1});
    segments_logged_ = segments;
  }
  failures_logged_ = failures;
  if (wants_segment()) begin_segment(controller, now);
}

void Journal::finish(const Controller& controller, Instant now) {
  const bool waits = head_waits_.load(std::memory_order_acquire) ||
                     stands_still_.load(std::memory_order_acquire);
  if (is_recording_ && !waits) begin_segment(controller, now);
}

void Journal::begin_segment(const Controller& controller, Instant now) {
  // In one piece each, which then goes back to the kernel.
  std::vector<std::byte> state;
  state.reserve(controller.vm_count() * kStateBytesOfVm);
  controller.save(state);
  head_.reserve(state.size() + configuration_.size() + kRecordBytes);
  encoder_.begin({.agent_version = OUTRIDER_VERSION,
                  .boot_id = boot_id_,
                  .configuration = configuration_,
                  .at = now,
                  .wall_ns = wall_ns(),
                  .dropped = dropped_ - dropped_told_},
                 state, head_);
  dropped_told_ = dropped_;
  segment_bytes_ = 0;
  failures_seen_ = failures_.load(std::memory_order_acquire);
  is_recording_ = true;
  has_begun_ = true;
  head_at_ = ring_.written();
  head_waits_.store(true, std::memory_order_release);
}

JournalStatus Journal::status() const {
  return {.bytes = bytes_.load(std::memory_order_relaxed),
          .segments = segments_.load(std::memory_order_relaxed),
          .dropped = dropped_,
          .failures = failures_.load(std::memory_order_relaxed),
          .is_writing = is_recording_};
}

// --- The writer's side ------------------------------------------------------

void Journal::write_out() {
  // The loop's own priority is no matter of the disk's.
  const sched_param ordinary{};
  (void)::sched_setscheduler(0, SCHED_OTHER, &ordinary);  // it is that already
  pollfd stop{.fd = stop_.get(), .events = POLLIN, .revents = 0};
  while (::poll(&stop, 1, kWritePeriodMs) == 0) write_some();
  write_some();
}

void Journal::fail_writing(const Error& error) {
  files_.end();
  retry_at_ = monotonic_now() + options_.retry_after;
  stands_still_.store(true, std::memory_order_release);
  failure_.store(error.code, std::memory_order_relaxed);
  failures_.fetch_add(1, std::memory_order_release);
}

bool Journal::write_head() {
  auto begun = files_.begin();
  if (begun) {
    const std::span<const std::byte> head(head_);
    begun = files_.write({&head, 1});
  }
  if (begun) {
    bytes_.fetch_add(head_.size(), std::memory_order_relaxed);
    segments_.fetch_add(1, std::memory_order_relaxed);
  } else {
    fail_writing(begun.error());
  }
  std::vector<std::byte>().swap(head_);  // it may be large
  return begun.has_value();
}

void Journal::write_some() {
  if (stands_still_.load(std::memory_order_relaxed) &&
      monotonic_now() >= retry_at_) {
    stands_still_.store(false, std::memory_order_release);
  }
  // What was pushed before the head is of the segment before. Look for the head
  // after the end: one that is not seen now was announced behind that end.
  std::uint64_t end = ring_.available();
  const bool head_waits = head_waits_.load(std::memory_order_acquire);
  if (head_waits) end = head_at_;
  const auto parts = ring_.peek(end);
  const std::uint64_t size = end - ring_.read();
  if (size > 0 && files_.has_segment()) {
    auto written = files_.write(parts);
    if (written) {
      bytes_.fetch_add(size, std::memory_order_relaxed);
    } else {
      fail_writing(written.error());
    }
  }
  ring_.take(end);
  if (!head_waits) return;
  (void)write_head();
  head_waits_.store(false, std::memory_order_release);
  if (ring_.available() != end) write_some();
}

}  // namespace outrider
