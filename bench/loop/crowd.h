// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "agent/base/result.h"
#include "agent/base/units.h"

struct ping_bpf;
struct ring_buffer;

namespace outrider::bench {

/// Keeps every CPU busy with a thread that spins, and has one of them call
/// through a BPF ring when it is asked to: a bare call, told by a thread that
/// runs on a busy CPU, stamped by the kernel as the eyes stamp theirs.
class Crowd {
 public:
  static Result<std::unique_ptr<Crowd>> start();
  ~Crowd();
  Crowd(const Crowd&) = delete;
  Crowd& operator=(const Crowd&) = delete;

  /// The next spinner in turn is to call at `when`.
  void ask_for_ping(Instant when);
  /// Readable when a call has come.
  int event_fd() const;
  void take_pings(const std::function<void(Instant at)>& handle);
  std::uint64_t pings_told() const { return told_; }

 private:
  Crowd() = default;
  void spin(std::size_t cpu);

  ping_bpf* skeleton_ = nullptr;
  ring_buffer* ring_ = nullptr;
  const std::function<void(Instant)>* handle_ = nullptr;
  std::atomic<bool> stopping_{false};
  std::atomic<std::uint64_t> told_{0};
  std::vector<std::atomic<std::int64_t>> ping_at_ns_;  // one a CPU; 0: none
  std::size_t next_ = 0;
  std::vector<std::thread> threads_;
};

}  // namespace outrider::bench
