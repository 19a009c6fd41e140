// SPDX-License-Identifier: Apache-2.0
// A Seat is what the Controller keeps of one VM: what it learned, what it
// asks for, and when its cap may move.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "agent/base/units.h"
#include "agent/core/arbitrate.h"
#include "agent/core/controller.h"
#include "agent/core/demand_window.h"
#include "agent/core/edge_peaks.h"
#include "agent/core/forecaster.h"
#include "agent/core/plan.h"
#include "agent/core/policy.h"
#include "agent/core/reactive_twin.h"
#include "agent/core/recent_max.h"

namespace outrider {

class FieldReader;
class FieldWriter;

/// What all seats share.
struct Rules {
  Policy policy;
  Duration tick_period{};
};

/// The three series that are learned of each VM.
enum class Series : std::uint8_t {
  kSoon,     // over the control window: drives the cap
  kAhead,    // over the prediction horizon
  kReserve,  // over the reserve's
};

/// The clock of one of them: a forecast is of the peak of `horizon` steps.
struct SeriesClock {
  Duration step{};
  std::uint32_t horizon = 1;
};
/// What follows from the policy; steps are whole ticks.
SeriesClock series_clock(const Policy& policy, Duration tick, Series series);

/// A Forecaster that is fed the peak of every `every` steps of the tick's
/// clock.
class SlowedForecaster {
 public:
  SlowedForecaster(const ForecasterFactory& make_forecaster,
                   std::uint32_t horizon_steps, std::uint32_t every);
  /// `steps` of the tick's clock have passed with this demand. True when the
  /// forecast is a new one.
  bool observe(Observation now, std::uint32_t steps);
  /// A hint: the next steps are to come soon.
  void prefetch(std::uint32_t steps) const {
    if (left_ <= steps) forecaster_->prefetch();
  }
  Forecaster& forecaster() { return *forecaster_; }
  const Forecaster& forecaster() const { return *forecaster_; }
  /// The period that `slower` believes in, in steps of this one.
  LikelyPeriod period_of(const SlowedForecaster& slower) const;

  /// All of it, for a Controller's state.
  void save(FieldWriter& out) const;
  /// As Seat::load.
  void load(FieldReader& in, const ForecasterFactory& make_forecaster);

 private:
  std::unique_ptr<Forecaster> forecaster_;
  std::uint32_t horizon_ = 1;  // in steps of its own
  std::uint32_t every_ = 1;
  std::uint32_t left_ = 1;
  Observation peak_{.missing = true};
};

/// Invariant: state.target lies within floor and ceiling once a tick was seen.
class Seat {
 public:
  Seat(const VmFacts& facts, const Rules& rules,
       const ForecasterFactory& make_forecaster);

  VmState state;

  /// Hints that `sense` is to come: of itself first, later of what it learned,
  /// which it then can find.
  void prefetch() const;
  void prefetch_series(std::uint32_t steps) const {
    for (const SlowedForecaster& series : series_) series.prefetch(steps);
  }
  /// Takes in one tick's figures; nullptr: it is missing.
  void sense(const Rules& rules, const CpuInput* input, Duration interval,
             std::uint32_t steps);
  /// What it asks of the arbiter at `now`.
  Claim claim(const Rules& rules, Instant now);
  /// The same without what is only held because lowering is slow.
  Claim bare_claim() const;
  /// Takes what it got; true and `action` if its cap is to move.
  bool decide(const Rules& rules, Instant now, const Share& share,
              Action& action);
  /// Knobs that are set once when Outrider takes charge, into `actions`.
  /// Shape: room for 3. How many there are.
  std::size_t start_actions(const Rules& rules, std::span<Action> actions);
  /// A hand-over out of the reserve and `free`; true and `action` if any.
  bool hand_over(const Rules& rules, const EdgeInput& edge, MilliCpus free,
                 Action& action);
  /// What came of an action of this VM's.
  void settle(const Rules& rules, Instant now, const Action& action,
              const Outcome& outcome);
  /// As Controller::foreign_write.
  void foreign_write(Instant now, MilliCpus cap);
  /// No other writer is known any more.
  void forget_writers();
  /// Its knobs hold the baseline again: Outrider is not in charge.
  void stand_back();
  /// Adds the interval that has passed to the running totals.
  void account(Duration interval);

  /// True while its knobs may be set.
  bool is_managed() const;
  /// What it holds in the host's books.
  MilliCpus held() const;
  /// Takes over a policy that may have changed.
  void resolve(const Rules& rules);

  /// The three series of what it learned.
  static constexpr std::size_t kSeries = 3;
  /// What it is to learn before it cuts, it knows already.
  void go_on() { has_learned_ = true; }
  Forecaster& series(std::size_t i) { return series_[i].forecaster(); }
  const Forecaster& series(std::size_t i) const {
    return series_[i].forecaster();
  }
  /// A piece of one's search for a season. Those with a longer memory help.
  bool ponder(SeasonSearch& search, std::size_t i);
  /// After a series was loaded.
  void refresh_forecasts();

  /// All of it, for a Controller's state.
  void save(FieldWriter& out) const;
  /// What it then is may be anything if in.ok() is false.
  void load(FieldReader& in, const ForecasterFactory& make_forecaster);

  Mode mode_asked = Mode::kEnforce;  // by an operator, at run time

 private:
  template <class Io, class Self>
  static void members(Io& io, Self& self);
  Claim claim_of(MilliCpus need) const;
  MilliCpus overhead() const;
  MilliCpus quantile(const Rules& rules, const Forecast& forecast,
                     std::int64_t permille) const;
  MilliCpus need_now(const Rules& rules) const;
  MilliCpus soon_needed(const Rules& rules) const;
  MilliCpus ramp(const Rules& rules) const;
  std::int64_t cap_quantile(const Rules& rules) const;
  MilliCpus reserve_now(const Rules& rules, MilliCpus need) const;
  void learn_overhead(const CpuInput& input);
  static MilliCpus certain_of(const CpuInput& input, MilliCpus demand);
  MilliCpus held_back(const Rules& rules, Instant now, MilliCpus need_before);
  MilliCpus likely_after_edge() const;
  bool may_write(const Rules& rules, Instant now, std::int64_t writes_left);
  void spend_write();
  std::int64_t restraint() const;
  bool is_thrifty() const;
  bool raise(const Rules& rules, Instant now, const Share& share,
             Action& action);
  void note_grant(const Share& share);
  Action cap_action(MilliCpus value, Reason reason) const;
  void note_onset(MilliCpus before);

  DemandWindow window_;
  EdgePeaks edge_peaks_;
  std::array<SlowedForecaster, kSeries> series_;  // soon, ahead, reserve
  // Emulator, iothreads and vhost apart, in 1/256 milli-CPU: level over a cap
  // period, and its slowly forgotten peak.
  std::array<std::int64_t, kThreadClasses> level_{};
  std::array<std::int64_t, kThreadClasses> peak_{};
  MilliCpus need_;
  MilliCpus ask_;            // of reserve
  MilliCpus asked_reserve_;  // in the tick before
  MilliCpus asked_;          // need of the last claim
  Reason need_reason_ = Reason::kForecast;
  Instant first_seen_{};
  Instant needed_last_{};
  RecentMax recent_;  // of need_
  ReactiveTwin twin_;
  Instant retry_at_{};
  Duration retry_after_{};
  Instant lent_at_{};    // the loan it has was last raised
  Instant taken_at_{};   // it was last lowered against its wish
  Instant steady_at_{};  // its need last did not fall
  Instant refilled_at_{};
  std::int64_t write_credit_ = 0;  // thousandths of a write
  bool seen_ = false;
  bool has_learned_ = false;  // before it came here
  bool shrink_failed_ = false;
  bool is_short_ = false;        // it was given less than it needs
  bool is_squeezed_ = false;     // or less than it asked for
  bool was_lent_ = false;        // its cap holds a loan
  std::uint8_t start_left_ = 0;  // bits of Knob that are still to be set
  std::uint8_t start_failures_ = 0;
  // Other writers.
  Instant foreign_at_{};
  Instant reassert_at_{};
  Instant quiet_until_{};  // after that answer
  bool foreign_seen_ = false;
  bool reassert_ = false;
};

}  // namespace outrider
