// SPDX-License-Identifier: Apache-2.0
// The closed loop without a kernel: SimHost and Controller, and a checker for
// each invariant of docs: design.md section 4 that can be seen here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "agent/core/controller.h"
#include "agent/core/journal_record.h"
#include "tests/sim/scenario.h"
#include "tests/sim/sim_host.h"

namespace outrider::sim {

/// What a broken invariant was, in words, with the VM and the figures.
using Breach = std::string;

/// Runs one scenario. Beside the Controller a second one gets the same calls:
/// the same calls must give the same Plans. A journal is kept of them.
class SimLoop {
 public:
  explicit SimLoop(const Scenario& scenario);

  /// The first breach within `ms` of simulated time; none if all held.
  std::optional<Breach> run(std::int64_t ms);
  /// Makes the journal's calls once more, with a Controller of its own: the
  /// first decision that is another one now; none if all are the same.
  std::optional<Breach> replay() const;
  std::size_t journal_bytes() const;
  const Controller& controller() const { return controller_; }
  const SimHost& host() const { return host_; }

 private:
  struct Watched {
    std::int64_t reasserts = 0;     // since its last release
    std::int64_t last_try_ms = -1;  // of its cap
    std::int64_t refusals = 0;      // in a row
    std::uint64_t writes_at_minute = 0;
    bool missing = false;  // in the tick that is being checked
  };

  std::optional<Breach> tick();
  void note_tick(const TickInput& input, std::span<const Action> plan);
  std::optional<Breach> edge(const EdgeInput& edge);
  void come_and_go(const SimTick& tick);
  void foresee();
  void begin_segment();
  void note(const JournalRecord& call);
  static std::optional<Breach> replay(std::span<const std::byte> segment);
  std::optional<Breach> carry_out(std::span<const Action> plan,
                                  std::span<const Action> same);
  std::optional<Breach> check_plan(std::span<const Action> plan) const;
  std::optional<Breach> check_vm(const VmState& vm) const;
  std::optional<Breach> check_sums() const;
  std::optional<Breach> check_writes(const Action& action,
                                     const Outcome& outcome);

  SimHost host_;
  Controller controller_;
  Controller twin_;
  std::map<VmId, Watched> watched_;
  std::vector<Outcome> outcomes_;
  JournalEncoder encoder_;
  std::vector<std::vector<std::byte>> journal_;  // by segment
  std::int64_t segment_due_ms_ = 0;
  std::int64_t foresee_due_ms_ = 0;
  bool in_tick_ = false;
};

}  // namespace outrider::sim
