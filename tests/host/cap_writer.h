// SPDX-License-Identifier: Apache-2.0
// Stands in for the agent's hands: a process that moves the caps of a tree of
// ordinary files, through a BaselineTable and under a warden.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "agent/base/units.h"

namespace outrider {

/// DIR/mount/vmN/cpu.max, and room for the table in DIR/run.
struct FakeHost {
  std::string dir;
  std::uint32_t vm_count = 0;

  std::string mount() const { return dir + "/mount"; }
  std::string run() const { return dir + "/run"; }
  static std::string cgroup(std::uint32_t vm);
  /// What vm's cap held before anybody came.
  static std::string baseline(std::uint32_t vm);
};

/// What the writer and the checker tell each other, in shared memory.
struct WriterWord {
  std::atomic<std::uint64_t> writes;
  std::atomic<std::int32_t> warden;    // pid; > 0: the caps are being moved
  std::atomic<std::uint64_t> adopted;  // the generation that was adopted last
  std::atomic<std::uint64_t> undone;   // values of its own it found there then
  std::atomic<std::uint64_t> go_on;    // the generation to go on after
};

/// Starts it. It moves every cap, then sleeps for `pause`, and so on, at the
/// real-time priority of the agent. Whenever the warden has given it up, it
/// puts the baseline back where a write of its own came too late, and waits to
/// be told to go on.
pid_t start_writer(const FakeHost& host, WriterWord& word, Duration pause);

}  // namespace outrider
