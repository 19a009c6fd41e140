// SPDX-License-Identifier: Apache-2.0
// Closes the loop for CPU: each tick's demand to the Controller, its Plans to
// the hands, and what came of them back.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "agent/base/result.h"
#include "agent/bpf_sensor.h"
#include "agent/cgroup.h"
#include "agent/config.h"
#include "agent/core/controller.h"
#include "agent/core/demand.h"
#include "agent/core/journal_record.h"
#include "agent/core/plan.h"
#include "agent/cpu_hands.h"
#include "agent/dry_run_actuator.h"
#include "agent/foresight.h"
#include "agent/journal.h"
#include "agent/latency.h"
#include "agent/sys/event_loop.h"
#include "agent/vm.h"

namespace outrider {

/// The last time a knob was set, for people.
struct LastAction {
  Action action;
  Outcome outcome;
  Instant at{};
};

/// How long the stages of the fast path took, and of a tick.
struct StageLatencies {
  LatencyHistogram edge_to_loop;  // the kernel called -> the loop took it up
  LatencyHistogram edge_decide;   // -> decided
  LatencyHistogram edge_act;      // -> written, read back and noted
  LatencyHistogram edge_total;    // the kernel called -> written
  LatencyHistogram tick_decide;
  LatencyHistogram tick_act;  // of ticks that wrote something
};

std::string_view mode_name(Mode mode);

/// Invariant: the Controller has just the VMs that have come and not gone; the
/// hands are attached to those of them that may be enforced; the journal has
/// every call that changes the Controller, in order.
class CpuControl {
 public:
  struct World {
    const CgroupTree* cgroups = nullptr;  // nullptr: no limits can be set
    EventLoop& events;
    std::int64_t cpus = 1;
  };
  CpuControl(const Config& config, World world);
  ~CpuControl();

  /// Begins the journal, and takes the hands if the policy wants to enforce.
  /// What stands in the way of these is in `cannot_enforce`, and the mode is
  /// observe then; without a journal it goes on.
  void start();
  /// A VM was attached, or is in another cgroup now.
  void came(const Vm& vm);
  void gone(VmId vm);
  /// `sample` is the later of the two that `demand` is of.
  void tick(const Demand& demand, const Sample& sample);
  /// As Controller::ponder.
  bool ponder() { return controller_.ponder(); }
  void edge(const SensorEvent& event);
  /// Where the journal copies all that was learned, and what is foreseen
  /// minutes ahead is taken in.
  void slow_tick(Instant now);
  /// The agent is alive, whether or not a tick was due: at least each 50 ms.
  void beat();
  /// Every knob back to its baseline. After it nothing is written.
  void stop();

  /// The knobs that `release` puts back.
  std::vector<HeldBaseline> held() const;
  /// Every knob back to its baseline, and mode observe. Errors: one that was
  /// not taken; its record stays, and nothing more is written.
  Result<> release() { return set_mode(Mode::kObserve); }

  Mode mode() const { return controller_.policy().mode; }
  /// Whether the policy can be met with the VMs that are here. Errors: as of
  /// Controller::check.
  Result<> check_mode(Mode mode) const;
  /// Errors: it cannot enforce here; the text says why.
  Result<> set_mode(Mode mode);
  /// Errors: no such VM.
  Result<> set_mode(VmId vm, Mode mode);
  Result<> release_contention(VmId vm);
  /// Errors: no such VM, or its baseline cannot be put back.
  Result<> let_go(VmId vm);
  Result<> take_up(VmId vm);
  /// Errors: as Controller::take_learned.
  Result<> take_learned(const std::string& uuid, std::vector<std::byte> bytes);

  const Controller& controller() const { return controller_; }
  Duration tick_period() const { return config_.tick_period; }
  const CgroupTree* cgroups() const { return world_.cgroups; }
  const std::string& cannot_enforce() const { return cannot_enforce_; }
  const StageLatencies& latencies() const { return latencies_; }
  /// nullptr: decisions are not written.
  const Journal* journal() const { return journal_.get(); }
  /// nullptr: nothing is foreseen minutes ahead.
  const Foresight* foresight() const { return foresight_.get(); }
  /// The last setting of each of its knobs, in no order.
  std::vector<LastAction> last_actions(VmId vm) const;

 private:
  struct Known {
    Vm vm;
    std::array<LastAction, kKnobs> last{};
    bool complained = false;
  };

  void start_journal();
  void inherit();
  void foresee();
  void put_all_back();
  void change(const JournalRecord& call);
  void add(const Vm& vm, MilliCpus baseline, bool has_cap);
  MilliCpus attach_hands(const Vm& vm, bool& has_cap);
  void attach_again(const Vm& vm);
  void follow_vcpus(const Sample& sample);
  void fill_inputs(const Demand& demand);
  void decide(const TickInput& input, Instant start);
  std::span<const Outcome> carry_out(std::span<const Action> plan, Instant now);
  std::span<const Outcome> hand_over(std::span<const Action> plan, Instant now);
  std::span<const Outcome> settle(std::span<const Action> plan, Instant now);
  bool is_enforced(VmId vm) const;
  void note(const Action& action, const Outcome& outcome, Instant now);
  void adopt_after_warden();
  Result<> watch_others();
  void look_for_others(Instant now);
  void on_foreign(const ForeignWrite& write, Instant now);
  Result<> take_hands();
  Result<> watch_warden();
  void on_warden_death();

  const Config& config_;
  World world_;
  Controller controller_;
  std::unique_ptr<Journal> journal_;      // none: nothing is written
  std::unique_ptr<Foresight> foresight_;  // none: nothing is foreseen
  std::unique_ptr<CpuHands> hands_;       // none: nothing can be written
  bool hears_others_ = true;              // is to be told that somebody wrote
  DryRunActuator dry_run_;
  std::map<VmId, Known> known_;
  std::vector<CpuInput> inputs_;
  std::vector<Outcome> outcomes_;
  std::string cannot_enforce_;
  StageLatencies latencies_;
};

}  // namespace outrider
