// SPDX-License-Identifier: Apache-2.0
// The guests of the demo, and the files of theirs that everyone here reads.
// What cannot be done ends the program with a message.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "agent/base/units.h"
#include "agent/sys/fd.h"

namespace outrider::demo {

struct Guest {
  std::string name;
  pid_t pid = 0;
  std::string cgroup;  // the directory of its limits
  bool is_batch = false;
  MilliCpus ceiling{};
  MilliCpus mean{};  // of its demand, as its workload says
  MilliCpus peak{};
  std::string marks;  // labmarks' file
  std::string plan;   // what the oracle is told; "-": nothing
};

/// A guest a line: name, pid, cgroup, latency|batch, ceiling, mean and peak in
/// milli-CPU, marks, plan.
std::vector<Guest> read_guests(const std::string& path);

/// No controller here goes below it, and Outrider is told the same.
inline constexpr MilliCpus kFloor{100};
inline constexpr MilliCpus kNoLimit{-1};

/// cpu.max of one cgroup, by a kept descriptor.
class CpuMaxFile {
 public:
  explicit CpuMaxFile(const Guest& guest);
  MilliCpus read() const;
  void write(MilliCpus cap);

 private:
  Fd fd_;
};

struct Throttling {
  std::uint64_t times = 0;
  std::uint64_t us = 0;
};

/// cpu.stat of one cgroup, by a kept descriptor.
class ThrottlingFile {
 public:
  explicit ThrottlingFile(const Guest& guest);
  Throttling read() const;

 private:
  Fd fd_;
};

struct VcpuTime {
  std::uint64_t run_ns = 0;
  std::uint64_t wait_ns = 0;
};

/// schedstat of a guest's vCPU threads together, by kept descriptors.
class VcpuTimeFiles {
 public:
  explicit VcpuTimeFiles(const Guest& guest);
  VcpuTime read() const;

 private:
  std::vector<Fd> fds_;
};

[[noreturn]] void give_up(const std::string& what);

void sleep_until(Instant when);
/// A real-time priority, as the agent has: so that load delays nobody here.
void become_real_time(int priority);
/// From here on SIGTERM and SIGINT only set what `is_told_to_stop` says.
void catch_stop();
bool is_told_to_stop();

}  // namespace outrider::demo
