// SPDX-License-Identifier: Apache-2.0
#include "agent/core/journal_replay.h"

#include <algorithm>
#include <array>
#include <type_traits>
#include <utility>

namespace outrider {
namespace {

std::string hex(std::uint32_t value) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text = "0x";
  for (int shift = 28; shift >= 0; shift -= 4) {
    text += kDigits[(value >> shift) & 0xF];
  }
  return text;
}

std::string to_string(const Action& action) {
  return std::string{to_text(action.knob)} + " of VM " +
         std::to_string(std::uint32_t(action.vm)) + " from " +
         std::to_string(action.old) + " to " + std::to_string(action.value) +
         " (" + std::string{to_text(action.reason)} + ")";
}

/// The first field in which two actions differ, and both its values.
struct FieldPair {
  std::string field;
  std::string a;
  std::string b;
};
FieldPair first_difference(const Action& a, const Action& b) {
  if (a.knob != b.knob)
    return {"knob", std::string{to_text(a.knob)}, std::string{to_text(b.knob)}};
  const std::string knob{to_text(a.knob)};
  if (a.index != b.index) {
    return {"vcpu of " + knob, std::to_string(a.index),
            std::to_string(b.index)};
  }
  const auto numbers = [&knob](const char* field, std::int64_t x,
                               std::int64_t y) {
    return FieldPair{knob + field, std::to_string(x), std::to_string(y)};
  };
  if (a.value != b.value) return numbers("", a.value, b.value);
  if (a.old != b.old) return numbers(", what it was", a.old, b.old);
  return {knob + ", reason", std::string{to_text(a.reason)},
          std::string{to_text(b.reason)}};
}

/// A call that may be refused is refused now as it was then.
struct Repeat {
  Controller& controller;

  Result<> operator()(const AddCall& call) const {
    if (controller.find(call.vm.id) != nullptr) {
      return fail(0, "a VM whose number is not new");
    }
    (void)controller.add_vm(call.vm);  // as above
    return {};
  }
  Result<> operator()(const RemoveCall& call) const {
    controller.remove_vm(call.vm);
    return {};
  }
  Result<> operator()(const ResizeCall& call) const {
    controller.resize(call.vm, call.vcpus);
    return {};
  }
  Result<> operator()(const AdoptCall& call) const {
    controller.adopt(call.vm, call.cap);
    return {};
  }
  Result<> operator()(const ForeignWriteCall& call) const {
    controller.foreign_write(call.vm, call.now, call.cap);
    return {};
  }
  Result<> operator()(const ReleaseCall& call) const {
    controller.release_contention(call.vm);
    return {};
  }
  Result<> operator()(const LetGoCall& call) const {
    controller.let_go(call.vm);
    return {};
  }
  Result<> operator()(const TakeUpCall& call) const {
    controller.take_up(call.vm);
    return {};
  }
  Result<> operator()(const ModeCall& call) const {
    controller.set_mode(call.vm, call.mode);
    return {};
  }
  Result<> operator()(const HostModeCall& call) const {
    controller.set_host_mode(call.mode);
    return {};
  }
  Result<> operator()(const ForeseeCall& call) const {
    controller.foresee(call.vm, call.peak);
    return {};
  }
  Result<> operator()(const LearnedCall& call) const {
    (void)controller.take_learned(call.uuid, call.bytes);  // as above
    return {};
  }
  Result<> operator()(const PolicyCall& call) const {
    (void)controller.change_policy(call.policy);  // as above
    return {};
  }
  template <class Other>
  Result<> operator()(const Other&) const {
    return {};
  }
};

}  // namespace

Result<> repeat_call(const JournalRecord& record, Controller& controller) {
  return std::visit(Repeat{controller}, record);
}

JournalReplay::JournalReplay(ForecasterFactory make_forecaster)
    : make_forecaster_(std::move(make_forecaster)) {}

Result<> JournalReplay::take(const JournalRecord& record) {
  if (difference_) return {};
  ++counts_.records;
  const bool is_opening = std::holds_alternative<SegmentHead>(record) ||
                          std::holds_alternative<StateChunk>(record);
  if (!is_opening && controller_ == nullptr) {
    return fail(0, "a call before the whole state was there");
  }
  return std::visit([this](const auto& one) { return make(one); }, record);
}

void JournalReplay::differ(std::optional<VmId> vm, std::string field,
                           std::string journal, std::string now) {
  difference_ = Difference{.record = counts_.records,
                           .at = now_,
                           .vm = vm.value_or(VmId{}),
                           .has_vm = vm.has_value(),
                           .field = std::move(field),
                           .journal = std::move(journal),
                           .now = std::move(now)};
}

bool JournalReplay::compare(std::span<const Action> journal,
                            std::span<const Action> now) {
  const std::size_t both = std::min(journal.size(), now.size());
  for (std::size_t i = 0; i < both; ++i) {
    if (journal[i] == now[i]) continue;
    if (journal[i].vm != now[i].vm) {
      differ(journal[i].vm, "action", to_string(journal[i]), to_string(now[i]));
      return false;
    }
    FieldPair pair = first_difference(journal[i], now[i]);
    differ(journal[i].vm, std::move(pair.field), std::move(pair.a),
           std::move(pair.b));
    return false;
  }
  if (journal.size() == now.size()) return true;
  const bool is_less = now.size() == both;
  const Action& extra = is_less ? journal[both] : now[both];
  differ(extra.vm, "action", is_less ? to_string(extra) : "none",
         is_less ? "none" : to_string(extra));
  return false;
}

Result<> JournalReplay::make(const SegmentHead& head) {
  head_ = head;
  now_ = head.at;
  return head.state_bytes == 0 ? load() : Result<>{};
}

Result<> JournalReplay::make(const StateChunk& chunk) {
  if (controller_ != nullptr) return fail(0, "more state than the head says");
  state_.insert(state_.end(), chunk.bytes.begin(), chunk.bytes.end());
  return state_.size() < head_.state_bytes ? Result<>{} : load();
}

Result<> JournalReplay::load() {
  controller_ = std::make_unique<Controller>(
      Policy{}, HostFacts{}, std::chrono::milliseconds{20}, make_forecaster_);
  auto loaded = controller_->load(state_);
  state_ = {};
  if (!loaded) return loaded;
  for (std::size_t i = 0; i < controller_->vm_count(); ++i) {
    vms_.insert(controller_->vm(i).facts.id);
  }
  return {};
}

Result<> JournalReplay::make(const TickCall* call) {
  now_ = call->now;
  ++counts_.ticks;
  counts_.vm_ticks += call->vms.size();
  const auto actions = controller_->tick(
      {.now = call->now, .interval = call->interval, .vms = call->vms});
  if (!compare(call->actions, actions)) return {};
  const std::uint32_t checksum = allocations_checksum(*controller_);
  if (checksum != call->checksum) {
    differ({}, "checksum of targets, reserves and loans", hex(call->checksum),
           hex(checksum));
    return {};
  }
  if (!call->outcomes.empty()) {
    controller_->settle(call->actions, call->outcomes);
  }
  counts_.writes += static_cast<std::uint64_t>(std::ranges::count(
      call->outcomes, Outcome::Kind::kApplied, &Outcome::kind));
  return {};
}

Result<> JournalReplay::make(const EdgeCall* call) {
  now_ = std::max(now_, call->edge.at);
  ++counts_.edges;
  const auto actions = controller_->edge(call->edge);
  if (!compare(call->actions, actions)) return {};
  if (!call->outcomes.empty()) {
    controller_->settle(call->actions, call->outcomes);
  }
  counts_.writes += static_cast<std::uint64_t>(std::ranges::count(
      call->outcomes, Outcome::Kind::kApplied, &Outcome::kind));
  return {};
}

template <class Call>
Result<> JournalReplay::make(const Call& call) {
  if constexpr (std::is_same_v<Call, AddCall>) vms_.insert(call.vm.id);
  return repeat_call(call, *controller_);
}

Result<> JournalReplay::make(const Gap&) {
  ends_in_gap_ = true;
  return {};
}

}  // namespace outrider
