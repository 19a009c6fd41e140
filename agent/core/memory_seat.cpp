// SPDX-License-Identifier: Apache-2.0
#include "agent/core/memory_seat.h"

#include <algorithm>
#include <array>

namespace outrider {
namespace {

// What QEMU itself holds beside the guest's memory. Not learned yet: 31 MiB
// were resident beside a guest of 512 MiB in the lab; more is on the safe side.
constexpr Bytes kOverhead{48 * kMebibyte.count()};
// A request is worth so much, and where no more is to be had never less than
// that.
constexpr Bytes kStep{32 * kMebibyte.count()};
constexpr Bytes kStepLeast{4 * kMebibyte.count()};
// A guest's figures come each second; older ones than so much say nothing.
constexpr Duration kGuestAgeMost = std::chrono::seconds{5};
constexpr Duration kRetryFirst = std::chrono::seconds{30};
constexpr Duration kReliefRetry = std::chrono::seconds{1};
constexpr Duration kRetryMost = std::chrono::minutes{10};
// A guest that was short is left alone for so long.
constexpr Duration kShortFor = std::chrono::seconds{30};
// Balloons move in pages, and their targets are whole MiB.
constexpr Bytes kTolerance = kMebibyte;
// From what growth on a ramp is one.
constexpr Bytes kRampLeast{32 * kMebibyte.count()};
// Pages that a guest had to read back, between two of its figures: no chance.
constexpr std::uint64_t kMajorFaultsMost = 50;

Bytes of_permille(Bytes whole, std::int64_t permille) {
  return Bytes{whole.count() / 1000 * permille};
}

Bytes whole_mib(Bytes bytes) {
  return Bytes{bytes.count() / kMebibyte.count() * kMebibyte.count()};
}

Bytes above_zero(Bytes bytes) { return std::max(bytes, Bytes{}); }

bool is_fresh(const MemoryInput& input) {
  return input.guest && input.guest->age <= kGuestAgeMost;
}

}  // namespace

std::string_view to_text(Cooperation cooperation) {
  constexpr std::array<std::string_view, 11> kTexts = {
      "no-balloon", "fixed",     "forbidden", "silent",
      "starting",   "willing",   "asked",     "unwilling",
      "short",      "migrating", "resizing"};
  return kTexts[static_cast<std::size_t>(cooperation)];
}

MemorySeat::MemorySeat(const MemoryFacts& facts, const Policy& policy)
    : forecast_(policy.memory.horizon) {
  state.facts = facts;
  resolve(policy);
}

void MemorySeat::resolve(const Policy& policy) {
  state.policy = resolve_memory(policy, state.facts);
  state.policy.mode = std::min(state.policy.mode, mode_asked);
}

void MemorySeat::adopt(Bytes baseline, Bytes target) {
  baseline_ = baseline;
  state.target = target;
}

// A guest may say of itself what it likes; that it uses more than the host
// holds for it is not possible.
void MemorySeat::learn_used(const MemoryInput& input) {
  state.is_used_known = is_fresh(input) && input.balloon.count() > 0;
  if (!state.is_used_known) return;
  if (first_told_ == Instant{}) first_told_ = sensed_at_;
  const Bytes told = input.balloon - input.guest->available;
  state.used = std::clamp(told, Bytes{}, input.resident + input.swapped);
  state.idle = above_zero(input.resident - state.used - kOverhead);
}

bool MemorySeat::is_guest_short(const MemoryPolicy& policy,
                                const MemoryInput& now) const {
  if (!is_fresh(now)) return false;
  const Bytes spare = of_permille(now.size, policy.guest_spare_permille);
  const GuestMemory& guest = *now.guest;
  if (guest.available < of_permille(spare, 500)) return true;
  if (!state.seen.guest) return false;
  const GuestMemory& before = *state.seen.guest;
  if (guest.swapped_in > before.swapped_in) return true;
  if (guest.swapped_out > before.swapped_out) return true;
  return guest.available < spare &&
         guest.major_faults > before.major_faults + kMajorFaultsMost;
}

void MemorySeat::sense(const MemoryPolicy& policy, const MemoryInput* input,
                       Instant now) {
  state.missing = input == nullptr || input->missing;
  if (state.missing) {
    forecast_.skip(now);
    return;
  }
  sensed_at_ = now;
  is_guest_short_ = is_guest_short(policy, *input);
  const bool is_reclaimed =
      input->refaults > state.seen.refaults && state.seen.resident.count() > 0;
  if (is_guest_short_ || is_reclaimed) short_until_ = now + kShortFor;
  learn_used(*input);
  state.seen = *input;
  forecast_.observe(now, input->resident,
                    state.is_used_known ? state.used : Bytes{-1});
  growth_watch_.observe(state.is_used_known ? state.used : input->resident,
                        now);
  state.leaks = growth_watch_.leaks();
  foresee(policy);
  follow(policy, now);
  state.cooperation = cooperation_now(policy, now);
}

// What the guest needs is what it uses at most, and some to spare; while the
// host sees it grow, no less than where that leads.
void MemorySeat::foresee(const MemoryPolicy& policy) {
  const MemoryInput& seen = state.seen;
  const Bytes most = seen.balloon.count() > 0 ? seen.balloon : seen.size;
  state.growth = forecast_.growth();
  if (most.count() > 0) {
    const Bytes room = above_zero(most + kOverhead - seen.resident);
    state.growth = std::min(state.growth, room);
  }
  Bytes needed = seen.size;
  if (state.is_used_known) {
    needed = std::max(forecast_.used(), state.used) +
             of_permille(seen.size, policy.guest_spare_permille);
    const Bytes ramp = forecast_.ramp();
    if (ramp >= kRampLeast) {
      needed = std::max(needed, seen.resident + ramp - kOverhead);
    }
  }
  needed = std::max(needed, state.policy.floor_of(seen.size));
  state.needed = std::min(needed, seen.size);
}

void MemorySeat::follow(const MemoryPolicy& policy, Instant now) {
  if (!is_asked_) return;
  const Bytes left = state.seen.balloon;
  const Bytes moved = above_zero(from_ - left);
  if (left <= state.target + kTolerance) {
    is_asked_ = false;
    retry_after_ = {};
    state.taken += moved;
    return;
  }
  if (now - asked_at_ < policy.confirm) return;
  is_asked_ = false;
  withdraw_ = true;
  state.taken += moved;
  // Slow is not unwilling.
  if (moved.count() >= (from_ - state.target).count() / 8) return;
  ++state.refused;
  back_off(now);
}

void MemorySeat::back_off(Instant now) {
  retry_after_ = std::clamp(2 * retry_after_, kRetryFirst, kRetryMost);
  retry_at_ = now + retry_after_;
}

Cooperation MemorySeat::cooperation_now(const MemoryPolicy& policy,
                                        Instant now) const {
  const MemoryInput& seen = state.seen;
  if (seen.fixed != Fixed::kNo) return Cooperation::kFixed;
  if (seen.is_migrating) return Cooperation::kMigrating;
  if (seen.is_resizing) return Cooperation::kResizing;
  if (seen.balloon.count() == 0 || seen.size.count() == 0) {
    return Cooperation::kNoBalloon;
  }
  if (!state.policy.balloon) return Cooperation::kForbidden;
  if (is_asked_) return Cooperation::kAsked;
  if (now < retry_at_) return Cooperation::kUnwilling;
  if (now < short_until_) return Cooperation::kShort;
  if (!state.is_used_known) return Cooperation::kSilent;
  if (now - first_told_ < policy.learn) return Cooperation::kStarting;
  return Cooperation::kWilling;
}

Bytes MemorySeat::spare() const {
  if (state.missing || !is_managed()) return {};
  if (state.cooperation != Cooperation::kWilling || withdraw_) return {};
  const Bytes above = above_zero(state.seen.balloon - state.needed);
  return whole_mib(std::min(above, state.idle));
}

Bytes MemorySeat::outstanding() const {
  return is_asked_ ? above_zero(state.seen.balloon - state.target) : Bytes{};
}

// To where the balloon goes back: what its owner had left the guest.
Bytes MemorySeat::top() const {
  return state.target.count() > 0 ? baseline_ : state.seen.balloon;
}

MemoryAction MemorySeat::set(Bytes value, MemoryReason reason, Instant now) {
  if (state.target.count() == 0) baseline_ = state.seen.balloon;
  state.target = value;
  asked_at_ = now;
  is_asked_ = false;
  withdraw_ = false;
  return {.vm = state.facts.id,
          .reason = reason,
          .value = value,
          .old = state.seen.balloon};
}

bool MemorySeat::take(const MemoryPolicy& policy, Bytes wanted, Instant now,
                      MemoryAction& action) {
  const Bytes step = whole_mib(
      std::min({std::max(wanted, kStep), spare(), policy.take_per_second}));
  if (step < kStepLeast) return false;
  from_ = state.seen.balloon;
  // Nobody carries out advice, so nobody is to be blamed for that.
  if (state.policy.mode < Mode::kEnforce) {
    if (now - asked_at_ < policy.confirm) return false;
    asked_at_ = now;
    action = {.vm = state.facts.id,
              .reason = MemoryReason::kReserve,
              .value = from_ - step,
              .old = from_};
    return true;
  }
  action = set(from_ - step, MemoryReason::kReserve, now);
  is_asked_ = true;
  ++state.asked;
  state.cooperation = Cooperation::kAsked;
  return true;
}

bool MemorySeat::relieve(Instant now, MemoryAction& action) {
  if (state.missing || state.target.count() == 0) return false;
  if (now < relief_at_) return false;
  const Bytes left = state.seen.balloon;
  // Ahead of all else, and at once all of it: it is taken slowly.
  if (is_guest_short_ && state.target < top()) {
    ++state.distressed;
    action = set(top(), MemoryReason::kDistress, now);
    return true;
  }
  const Bytes needed = std::min(state.needed, top());
  if (needed > left && needed > state.target) {
    action = set(needed, MemoryReason::kDemand, now);
    return true;
  }
  if (!withdraw_) return false;
  action = set(left, MemoryReason::kWithdrawn, now);
  state.cooperation = Cooperation::kAsked;  // one thing at a time
  return true;
}

bool MemorySeat::give(Bytes most, Instant now, MemoryAction& action) {
  if (state.missing || !is_taken_from() || is_asked_) return false;
  if (now < relief_at_) return false;
  const Bytes value = std::min(state.target + whole_mib(most), top());
  action = set(value, MemoryReason::kSurplus, now);
  return true;
}

void MemorySeat::refuse(Instant now) {
  if (is_asked_) {
    ++state.refused;
    back_off(now);
  }
  is_asked_ = false;
  relief_at_ = now + kReliefRetry;
  // What the balloon holds is what it held: what is to be set is set anew.
  if (state.target.count() > 0) state.target = state.seen.balloon;
}

bool MemorySeat::release(Instant now, MemoryAction& action) {
  if (state.target.count() == 0) return false;
  // Also where it is there already: whoever carries it out drops his note of
  // it then.
  action = set(baseline_, MemoryReason::kReleased, now);
  state.target = {};
  return true;
}

}  // namespace outrider
