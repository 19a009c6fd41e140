// SPDX-License-Identifier: Apache-2.0
// One simulated VM: work that arrives, is served, waits.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "agent/core/controller.h"
#include "agent/core/policy.h"
#include "tests/sim/sim_bandwidth.h"
#include "tests/sim/sim_trace.h"

namespace outrider::sim {

struct SimVmSpec {
  std::string name{};
  std::string uuid{};
  std::int64_t vcpus = 1;
  MilliCpus cap = kNoCap;  // the owner's
  std::int64_t weight = 100;
  // Work of the emulator that each unit of vCPU work brings with it.
  std::int64_t emulator_permille = 0;
  std::int64_t period_offset_ms = 0;  // of its cap's periods
  SimTraceSpec trace{};
};

/// Running totals; all only rise, but `backlog_us`. Always
/// arrived = served + backlog + dropped.
struct SimFigures {
  std::int64_t arrived_us = 0;
  std::int64_t served_us = 0;
  std::int64_t backlog_us = 0;  // arrived, not served yet
  std::int64_t dropped_us = 0;  // too late (1 s of work waits), or the VM went
  // CPU time that its threads could have used and did not get; the part of it
  // that its own cap took.
  std::int64_t stall_us = 0;
  std::int64_t throttled_us = 0;
  std::int64_t stall_ms = 0;      // time with such a stall
  std::int64_t throttled_ms = 0;  // time in which the cap took something
  // Integral of the cap (of the vCPUs, without one), in milli-CPU ms.
  std::int64_t held = 0;
  std::int64_t writes = 0;  // of its knobs, taken by the kernel

  friend bool operator==(const SimFigures&, const SimFigures&) = default;
};

/// Fluid: as many threads run at once as the trace's peak needs, and share the
/// work evenly; one busy period is theirs together, open while any is left.
class SimVm {
 public:
  SimVm(VmId id, std::size_t spec_index, const SimVmSpec& spec,
        std::uint64_t seed);

  /// A millisecond: the work that comes, and what could be served of it now.
  std::int64_t arrive(std::int64_t now_ms, SimFigures& figures);
  /// The part that it was served.
  void serve(std::int64_t us, SimFigures& figures);
  /// The remaining quota, if the VM has just come close to its end. As the eyes
  /// see it: 10 ms for each vCPU that runs, or half of a small quota; again
  /// only after a refill, and no more than once in 10 ms.
  std::optional<Duration> edge(std::int64_t now_ms);
  /// Figures since the call before; `interval_ms` is above 0.
  CpuInput read(std::int64_t interval_ms);

  int write(Knob knob, std::uint16_t index, std::int64_t value);
  std::int64_t value(Knob knob, std::uint16_t index) const;

  VmId id() const { return id_; }
  std::size_t spec_index() const { return spec_index_; }
  const SimBandwidth& bandwidth() const { return bandwidth_; }
  std::int64_t backlog_us() const { return backlog_us_; }
  /// In the kernel's own scale, 1024 for cpu.weight 100.
  std::int64_t weight() const;
  std::int64_t vcpus() const { return vcpus_; }

  bool foreign = false;   // somebody else wrote its cap, and it is not known
  CpuInput last_input{};  // as it was given

 private:
  struct Books {
    std::int64_t run_us = 0;
    std::int64_t wait_us = 0;
    std::int64_t open_wait_us = 0;  // 0 while no busy period is open
    std::int64_t throttled_us = 0;
  };

  std::int64_t threads() const;
  std::int64_t per_vcpu_us() const { return 1000 + emulator_permille_; }
  std::int64_t rate_us() const;

  VmId id_;
  std::size_t spec_index_;
  std::int64_t vcpus_;
  std::int64_t emulator_permille_;
  std::int64_t period_offset_ms_;
  SimTrace trace_;
  SimBandwidth bandwidth_;
  std::vector<std::int64_t> vcpu_caps_;
  std::int64_t weight_;
  std::int64_t idle_ = 0;

  std::int64_t backlog_us_ = 0;
  std::int64_t wanted_us_ = 0;   // in this millisecond
  std::int64_t allowed_us_ = 0;  // of it, by its caps
  std::int64_t ran_us_ = 0;
  Books books_;
  Books read_;
  bool edge_fired_ = false;
  std::int64_t edge_fired_at_ms_ = 0;
};

}  // namespace outrider::sim
