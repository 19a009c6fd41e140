// SPDX-License-Identifier: Apache-2.0
#include "agent/core/memory_controller.h"

#include <algorithm>
#include <utility>

namespace outrider {
namespace {

// Less than so much is no shortage: guests breathe.
constexpr Bytes kShortLeast{8 * kMebibyte.count()};
// What lies free beyond all that is needed before anything is given back.
constexpr Bytes kSurplusLeast{128 * kMebibyte.count()};

bool is_before(const std::unique_ptr<MemorySeat>& seat, VmId vm) {
  return seat->state.facts.id < vm;
}

}  // namespace

MemoryController::MemoryController(Policy policy)
    : policy_(std::move(policy)) {}

MemorySeat* MemoryController::seat(VmId vm) const {
  const auto place =
      std::lower_bound(seats_.begin(), seats_.end(), vm, is_before);
  const bool is_it = place != seats_.end() && (*place)->state.facts.id == vm;
  return is_it ? place->get() : nullptr;
}

const MemoryState* MemoryController::find(VmId vm) const {
  const MemorySeat* its = seat(vm);
  return its != nullptr ? &its->state : nullptr;
}

void MemoryController::add_vm(const MemoryFacts& facts) {
  remove_vm(facts.id);
  const auto place =
      std::lower_bound(seats_.begin(), seats_.end(), facts.id, is_before);
  seats_.insert(place, std::make_unique<MemorySeat>(facts, policy_));
  donors_.reserve(seats_.size());
  plan_.reserve(3 * seats_.size());
}

void MemoryController::adopt(VmId vm, Bytes baseline, Bytes target) {
  if (MemorySeat* its = seat(vm)) its->adopt(baseline, target);
}

Bytes MemoryController::baseline(VmId vm) const {
  const MemorySeat* its = seat(vm);
  return its != nullptr ? its->baseline() : Bytes{};
}

void MemoryController::remove_vm(VmId vm) {
  std::erase_if(seats_, [vm](const std::unique_ptr<MemorySeat>& each) {
    return each->state.facts.id == vm;
  });
  // What was searched may have been its.
  pondered_ = 0;
  search_.begin_anew();
}

void MemoryController::set_mode(VmId vm, Mode mode) {
  MemorySeat* its = seat(vm);
  if (its == nullptr) return;
  its->mode_asked = mode;
  its->resolve(policy_);
}

void MemoryController::set_host_mode(Mode mode) {
  policy_.mode = mode;
  for (const auto& each : seats_) each->resolve(policy_);
}

void MemoryController::refuse(VmId vm, Instant now) {
  if (MemorySeat* its = seat(vm)) its->refuse(now);
}

void MemoryController::sense(const MemoryTickInput& input) {
  auto next = input.vms.begin();
  for (const auto& each : seats_) {
    const VmId vm = each->state.facts.id;
    while (next != input.vms.end() && next->vm < vm) ++next;
    const bool is_seen = next != input.vms.end() && next->vm == vm;
    each->sense(policy_.memory, is_seen ? &*next : nullptr, input.now);
  }
}

void MemoryController::keep_books(const HostMemoryInput& host) {
  books_ = {};
  books_.host = host;
  for (const auto& each : seats_) {
    books_.reserve += each->state.growth;
    books_.outstanding += each->outstanding();
  }
  if (host.missing) return;
  books_.host_share =
      Bytes{host.total.count() / 1000 * policy_.memory.host_share_permille};
  books_.short_of =
      std::max(books_.host_share + books_.reserve - host.available, Bytes{});
}

std::span<const MemoryAction> MemoryController::tick(
    const MemoryTickInput& input) {
  plan_.clear();
  sense(input);
  keep_books(input.host);
  relieve(input.now);
  if (input.host.missing) return plan_;
  if (books_.short_of >= kShortLeast || short_at_ == Instant{}) {
    short_at_ = input.now;
  }
  if (books_.short_of >= kShortLeast) take(input.now);
  if (input.now - short_at_ >= policy_.memory.give_after) give(input.now);
  return plan_;
}

void MemoryController::relieve(Instant now) {
  for (const auto& each : seats_) {
    MemoryAction action;
    if (each->is_managed() && each->relieve(now, action)) {
      plan_.push_back(action);
    }
  }
}

// Lowest class first; within one, who has most to spare.
void MemoryController::take(Instant now) {
  Bytes wanted = books_.short_of - books_.outstanding;
  if (wanted < kShortLeast) return;
  donors_.clear();
  for (const auto& each : seats_) {
    if (each->spare().count() > 0) donors_.push_back(each.get());
  }
  std::ranges::sort(donors_, [](const MemorySeat* a, const MemorySeat* b) {
    const VmClass class_a = a->state.policy.vm_class;
    const VmClass class_b = b->state.policy.vm_class;
    if (class_a != class_b) return class_a > class_b;
    if (a->spare() != b->spare()) return a->spare() > b->spare();
    return a->state.facts.id < b->state.facts.id;
  });
  for (MemorySeat* donor : donors_) {
    MemoryAction action;
    if (wanted.count() <= 0) return;
    if (!donor->take(policy_.memory, wanted, now, action)) continue;
    plan_.push_back(action);
    wanted = wanted - (action.old - action.value);
  }
}

// To the highest class first, and never what would be missing at once.
void MemoryController::give(Instant now) {
  const Bytes surplus =
      books_.host.available - books_.host_share - books_.reserve;
  if (surplus < kSurplusLeast) return;
  MemorySeat* best = nullptr;
  MemoryAction action;
  for (const auto& each : seats_) {
    if (!each->is_managed() || !each->is_taken_from()) continue;
    if (best == nullptr ||
        each->state.policy.vm_class < best->state.policy.vm_class) {
      best = each.get();
    }
  }
  if (best == nullptr) return;
  if (best->give(Bytes{surplus.count() / 2}, now, action)) {
    plan_.push_back(action);
    short_at_ = now;  // a moment, to see what comes of it
  }
}

std::span<const MemoryAction> MemoryController::release(Instant now) {
  plan_.clear();
  for (const auto& each : seats_) {
    MemoryAction action;
    if (each->release(now, action)) plan_.push_back(action);
  }
  return plan_;
}

std::span<const MemoryAction> MemoryController::release(VmId vm, Instant now) {
  plan_.clear();
  MemoryAction action;
  MemorySeat* its = seat(vm);
  if (its != nullptr && its->release(now, action)) plan_.push_back(action);
  return plan_;
}

bool MemoryController::ponder() {
  if (seats_.empty()) return false;
  pondered_ %= seats_.size();
  if (!seats_[pondered_]->ponder(search_)) return true;
  ++pondered_;
  return pondered_ < seats_.size();
}

}  // namespace outrider
