// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "agent/agent.h"
#include "agent/bpf_sensor.h"
#include "agent/core/demand.h"
#include "agent/core/sample.h"
#include "agent/proc.h"

namespace outrider::check {

/// The eyes on some processes, without the daemon around them.
class Observer {
 public:
  /// Ends the program with a message when the eyes do not open.
  explicit Observer(std::span<const pid_t> pids);

  /// Sleeps until `when`, so that the clock pair is fresh, and reads.
  const Sample& read_at(Instant when);
  const Sample& read_after(Duration pause);
  BpfSensor& sensor() { return *sensor_; }

 private:
  std::unique_ptr<BpfSensor> sensor_;
};

/// The whole agent, in this process. `journal`: its directory; empty: none.
std::unique_ptr<Agent> start_agent(const std::string& journal = {});
void turn_for(Agent& agent, Duration time);

[[noreturn]] void give_up(const std::string& what);
/// Likewise, with exit code 3: a guest does not do what it was told to.
[[noreturn]] void blame_guest(const std::string& what);

/// Prints `FIGURE name value unit (limit)`, and notes whether it holds.
void report(const std::string& name, double value, const std::string& limit,
            bool holds);
/// 1 when a figure that was reported does not hold.
int verdict();

/// Stops a process and waits until none of its threads is on a CPU.
void stop_process(pid_t pid);
void continue_process(pid_t pid);

}  // namespace outrider::check
