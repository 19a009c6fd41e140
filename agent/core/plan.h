// SPDX-License-Identifier: Apache-2.0
// Plan: what is to be set in one go, and what came of it. The seam to the
// hands: an Actuator carries out a Plan.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "agent/base/units.h"

namespace outrider {

enum class Knob : std::uint8_t {
  kCpuMax,       // value: milli-CPU of the VM; -1: no cap
  kVcpuMax,      // value: milli-CPU of vCPU `index`; -1: no cap
  kCpuMaxBurst,  // value: microseconds
  kCpuWeight,    // value: 1..10000, where VMs are siblings
  kCpuIdle,      // value: 0 or 1, where VMs are siblings
};
inline constexpr std::size_t kKnobs = 5;

/// The file that holds it, as the kernel calls it: "cpu.max" for a vCPU's too.
std::string_view to_text(Knob knob);

/// Why a knob is set: the rule that bound.
enum class Reason : std::uint8_t {
  kStart,     // first time: class weights, burst
  kForecast,  // the peak that is predicted
  kDemand,    // more is demanded now than was predicted
  kEdge,      // the VM was about to meet its cap: hand-over
  kFloor,
  kCeiling,
  kShortage,  // arbitration gave less than was asked for
  kLoan,      // a higher class's reserve, lent
  kRevoked,   // a loan that its owner took back
  kLower,     // it has not been needed for a while
  kReassert,  // somebody else wrote; once
  kBaseline,  // let go
};

/// The word for it, for people and programs.
std::string_view to_text(Reason reason);

/// One absolute setting: "set to", never "add".
struct Action {
  VmId vm{};
  Knob knob = Knob::kCpuMax;
  std::uint16_t index = 0;  // of the vCPU, for kVcpuMax
  Reason reason = Reason::kStart;
  std::int64_t value = 0;
  std::int64_t old = 0;  // what it is believed to be now, for people

  friend bool operator==(const Action&, const Action&) = default;
};

/// What came of an Action.
struct Outcome {
  enum class Kind : std::uint8_t {
    kApplied,      // read back: `value` is what the file says now
    kUnconfirmed,  // refused or unreadable: `error` says why; plan it again
    kForeign,      // somebody else had written there: nothing was written
    kGone,         // the VM's cgroup is no more
  };
  Kind kind = Kind::kUnconfirmed;
  int error = 0;           // errno
  std::int64_t value = 0;  // as Action::value, as far as it is known

  friend bool operator==(const Outcome&, const Outcome&) = default;
};

/// The seam to the hands. Kinds: cgroup files, a dry run; tests bring more.
class Actuator {
 public:
  virtual ~Actuator() = default;
  /// Carries out `plan` in its order; `outcomes[i]` tells of `plan[i]`.
  /// Shape: both spans are of one size. Allocates nothing.
  virtual void apply(std::span<const Action> plan,
                     std::span<Outcome> outcomes) = 0;
};

}  // namespace outrider
