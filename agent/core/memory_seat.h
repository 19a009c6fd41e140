// SPDX-License-Identifier: Apache-2.0
// What is kept of one VM's memory: what it learned, what it can give, and
// whether it gives what it is asked for.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "agent/base/units.h"
#include "agent/core/growth_watch.h"
#include "agent/core/memory_forecast.h"
#include "agent/core/memory_plan.h"
#include "agent/core/memory_policy.h"

namespace outrider {

/// Whether a guest gives memory when it is asked to.
enum class Cooperation : std::uint8_t {
  kNoBalloon,  // it has none, or nobody can ask
  kFixed,      // see Fixed
  kForbidden,  // the policy takes nothing from it
  kSilent,     // it says nothing of itself, or not lately
  kStarting,   // it is learned
  kWilling,
  kAsked,      // and has not moved yet
  kUnwilling,  // it did not move: it is asked again later
  kShort,      // it was short of memory itself a while ago
  kMigrating,
  kResizing,
};
/// The word for it, for people and programs.
std::string_view to_text(Cooperation cooperation);

/// For people and programs to look at.
struct MemoryState {
  MemoryFacts facts;
  VmMemoryPolicy policy;
  MemoryInput seen;  // the last that was not missing
  Bytes used;        // by the guest, as it says and the host can believe
  bool is_used_known = false;
  Bytes needed;  // by the guest over the horizon, with what is spare
  Bytes growth;  // of the host's memory, over the horizon
  Bytes idle;    // resident, and not used
  Bytes target;  // the balloon is to leave it; 0: Outrider never asked
  Cooperation cooperation = Cooperation::kNoBalloon;
  bool missing = true;
  bool leaks = false;  // it has only ever grown, for long
  // Running totals.
  std::uint64_t asked = 0;    // settings, to take
  std::uint64_t refused = 0;  // of these, what the guest did not do in time
  std::uint64_t distressed = 0;
  Bytes taken;  // confirmed
};

/// Invariants: a target is never under the floor; there is one request at a
/// time that takes; what was not confirmed still counts as held.
class MemorySeat {
 public:
  MemorySeat(const MemoryFacts& facts, const Policy& policy);

  MemoryState state;
  Mode mode_asked = Mode::kEnforce;  // by an operator, at run time

  /// An agent before this one had set its balloon to `target`, where it was
  /// `baseline`.
  void adopt(Bytes baseline, Bytes target);
  Bytes baseline() const { return baseline_; }

  /// Takes over a policy that may have changed; not its horizon.
  void resolve(const Policy& policy);
  /// nullptr: nothing was seen of it.
  void sense(const MemoryPolicy& policy, const MemoryInput* input, Instant now);
  /// What it could still give the host, as far as is known; whole MiB.
  Bytes spare() const;
  /// Takes up to `wanted`. True and `action` if it is asked.
  bool take(const MemoryPolicy& policy, Bytes wanted, Instant now,
            MemoryAction& action);
  /// Gives back what it needs, or is about to; and takes back a request that
  /// it did not follow. True and `action` if there is any.
  bool relieve(Instant now, MemoryAction& action);
  /// Gives back up to `most`, for nobody else needs it.
  bool give(Bytes most, Instant now, MemoryAction& action);
  /// What was set last did not reach its QEMU, or was refused by it.
  void refuse(Instant now);
  /// Forgets that it was ever asked. True and `action` if its balloon was ever
  /// set.
  bool release(Instant now, MemoryAction& action);

  /// What was asked for and is not confirmed.
  Bytes outstanding() const;
  /// Its balloon holds what Outrider has put there.
  bool is_taken_from() const {
    return state.target.count() > 0 && state.target < top();
  }
  bool is_managed() const { return state.policy.mode >= Mode::kAdvise; }
  /// As MemoryForecast::ponder.
  bool ponder(SeasonSearch& search) { return forecast_.ponder(search); }

 private:
  bool is_guest_short(const MemoryPolicy& policy, const MemoryInput& now) const;
  void learn_used(const MemoryInput& input);
  void foresee(const MemoryPolicy& policy);
  void follow(const MemoryPolicy& policy, Instant now);
  Cooperation cooperation_now(const MemoryPolicy& policy, Instant now) const;
  MemoryAction set(Bytes value, MemoryReason reason, Instant now);
  Bytes top() const;
  void back_off(Instant now);

  MemoryForecast forecast_;
  GrowthWatch growth_watch_;
  Bytes baseline_;  // what the balloon left before the first setting
  Bytes from_;      // what it left when the guest was asked last
  bool is_asked_ = false;
  bool withdraw_ = false;  // the request that was not followed
  bool is_guest_short_ = false;
  Instant sensed_at_{};
  Instant asked_at_{};
  Instant retry_at_{};
  Duration retry_after_{};
  Instant relief_at_{};   // not before, after a refusal
  Instant first_told_{};  // by the guest
  Instant short_until_{};
};

}  // namespace outrider
