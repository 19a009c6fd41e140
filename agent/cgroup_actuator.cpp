// SPDX-License-Identifier: Apache-2.0
#include "agent/cgroup_actuator.h"

#include <algorithm>
#include <cassert>
#include <cerrno>

#include "agent/sys/clock.h"

namespace outrider {
namespace {

// What the kernel gives a group that is idle no longer.
constexpr std::int64_t kWeightDefault = 100;

bool is_gone(int error) { return error == ENODEV || error == ENOENT; }

Outcome failed(int error) {
  return {is_gone(error) ? Outcome::Kind::kGone : Outcome::Kind::kUnconfirmed,
          error, 0};
}

// `text` is what the knob's file says.
Outcome told(Outcome::Kind kind, const HeldKnob& knob, const KnobValue& text) {
  const auto value = parse_knob(knob.knob, text.view());
  return value ? Outcome{kind, 0, *value} : failed(EPROTO);
}

bool is_ours(const HeldKnob& knob, const KnobValue& text) {
  return same_setting(text.view(), knob.settled.view()) ||
         same_setting(text.view(), knob.announced.view());
}

std::int64_t number_in(const HeldKnob& knob) {
  return parse_knob_number(knob.settled.view()).value_or(0);
}

// The most that the kernel takes as burst beside this quota.
std::int64_t burst_max(const CpuMax& max) {
  return max.quota_us < 0 ? INT64_MAX : max.quota_us;
}

std::string name_of(const HeldKnob& knob) {
  return knob.origin.cgroup + "/" + knob.origin.attribute;
}

}  // namespace

CgroupActuator::CgroupActuator(const CgroupTree& tree, BaselineTable& table)
    : tree_(&tree), table_(&table), generation_(table.generation()) {}

// --- Who is there
// -------------------------------------------------------------

Result<AttachedKnobs> CgroupActuator::attach(const Vm& vm,
                                             const KnobOptions& options) {
  const auto at =
      std::lower_bound(vms_.begin(), vms_.end(), vm.id,
                       [](const VmKnobs& a, VmId b) { return a.vm() < b; });
  if (at != vms_.end() && at->vm() == vm.id) {
    return fail(EEXIST, "attach: " + vm.identity.name + " is attached");
  }
  auto knobs = VmKnobs::open(*tree_, vm, options);
  if (!knobs) return pass(knobs, "attach");
  const auto cap = parse_cpu_max(knobs->find(Knob::kCpuMax)->settled.view());
  if (!cap) return fail(EPROTO, "attach: cpu.max is malformed");
  AttachedKnobs found{cap_of(*cap), knobs->cgroups(), knobs->missing()};
  vms_.insert(at, std::move(*knobs));
  return found;
}

Result<> CgroupActuator::detach(VmId vm) {
  VmKnobs* knobs = find(vm);
  if (knobs == nullptr) return {};
  auto restored = restore(*knobs);
  vms_.erase(vms_.begin() + (knobs - vms_.data()));
  return restored;
}

VmKnobs* CgroupActuator::find(VmId vm) {
  const auto at =
      std::lower_bound(vms_.begin(), vms_.end(), vm,
                       [](const VmKnobs& a, VmId b) { return a.vm() < b; });
  return at != vms_.end() && at->vm() == vm ? &*at : nullptr;
}

// --- Plans
// --------------------------------------------------------------------

void CgroupActuator::apply(std::span<const Action> plan,
                           std::span<Outcome> outcomes) {
  assert(plan.size() == outcomes.size());
  constexpr Outcome kCancelled{Outcome::Kind::kUnconfirmed, ECANCELED, 0};
  const std::uint64_t writes_before = writes_;
  for (std::size_t i = 0; i < plan.size(); ++i) {
    outcomes[i] = is_current() ? carry_out(plan[i]) : kCancelled;
  }
  if (is_current()) return;
  // This process was given up meanwhile: what it wrote is out of date.
  std::fill(outcomes.begin(), outcomes.end(), kCancelled);
  // What cannot be put back keeps its record, for the warden.
  if (writes_ != writes_before) (void)restore_all();
}

void CgroupActuator::apply_at_once(std::span<const Action> plan,
                                   std::span<Outcome> outcomes) {
  at_once_ = true;
  apply(plan, outcomes);
  at_once_ = false;
}

Outcome CgroupActuator::carry_out(const Action& action) {
  VmKnobs* vm = find(action.vm);
  if (vm == nullptr) return failed(ENOENT);
  HeldKnob* knob = vm->find(action.knob, action.index);
  if (knob == nullptr) return failed(EOPNOTSUPP);
  switch (action.knob) {
    case Knob::kCpuMax:
      return set_cap(*vm, *knob, action);
    case Knob::kCpuMaxBurst:
      return set_burst(*vm, *knob, action);
    case Knob::kCpuIdle:
      return set_idle(*vm, *knob, action);
    case Knob::kVcpuMax:
    case Knob::kCpuWeight:
      break;
  }
  return set(*knob, action.reason,
             format_knob(action.knob, action.value, vm->cap_period()));
}

// The kernel refuses a burst above the quota, at each of the two writes. So
// down goes the burst first, up the quota: that write is the one that wakes
// who was held.
Outcome CgroupActuator::set_cap(VmKnobs& vm, HeldKnob& quota,
                                const Action& action) {
  const CpuMax cap = make_cpu_max(MilliCpus{action.value}, vm.cap_period());
  const KnobValue wanted = format_cpu_max(cap);
  const std::int64_t most = burst_max(cap);
  HeldKnob* burst = vm.find(Knob::kCpuMaxBurst);
  if (burst != nullptr && number_in(*burst) > most) {
    // If it is not taken, the kernel says so of the quota.
    (void)set(*burst, action.reason, format_knob_number(most));
  }
  const Outcome outcome = set(quota, action.reason, wanted);
  if (burst == nullptr || outcome.kind != Outcome::Kind::kApplied) {
    return outcome;
  }
  const std::int64_t affordable = std::min(vm.burst_wanted_us, most);
  if (number_in(*burst) < affordable) {
    // If it is not taken, the next cap tries again.
    (void)set(*burst, action.reason, format_knob_number(affordable));
  }
  return outcome;
}

Outcome CgroupActuator::set_burst(VmKnobs& vm, HeldKnob& burst,
                                  const Action& action) {
  vm.burst_wanted_us = action.value;
  const auto cap = parse_cpu_max(vm.find(Knob::kCpuMax)->settled.view());
  const std::int64_t most = burst_max(cap.value_or(CpuMax{}));
  return set(burst, action.reason,
             format_knob_number(std::min(action.value, most)));
}

// An idle group has the weight 0 (on 6.12: 1), and 100 when it is idle no
// longer, whatever it had before. So a weight that the owner chose would be
// lost if this process died: such a group is not made idle.
Outcome CgroupActuator::set_idle(VmKnobs& vm, HeldKnob& idle,
                                 const Action& action) {
  HeldKnob* weight = vm.find(Knob::kCpuWeight);
  const KnobValue wanted = format_knob_number(action.value);
  if (weight == nullptr) return set(idle, action.reason, wanted);
  const std::string_view chosen =
      weight->slot ? weight->origin.baseline : weight->settled.view();
  if (action.value != 0 && parse_knob_number(chosen) != kWeightDefault) {
    return failed(EOPNOTSUPP);
  }
  const Outcome outcome = set(idle, action.reason, wanted);
  if (outcome.kind != Outcome::Kind::kApplied) return outcome;
  const KnobReading now = weight->file.read();
  if (now.error != 0) return failed(now.error);
  weight->settled = weight->announced = now.text;
  if (weight->slot) table_->confirm(*weight->slot, now.text.view());
  return outcome;
}

Outcome CgroupActuator::set(HeldKnob& knob, Reason reason,
                            const KnobValue& wanted) {
  const KnobReading now = look(knob);
  if (now.error != 0) return failed(now.error);
  if (reason != Reason::kReassert && !is_ours(knob, now.text)) {
    knob.told = now.text;
    return told(Outcome::Kind::kForeign, knob, now.text);
  }
  if (same_setting(now.text.view(), wanted.view())) {
    knob.settled = knob.announced = now.text;
    return told(Outcome::Kind::kApplied, knob, now.text);
  }
  return write(knob, now.text, wanted);
}

// What was announced and not confirmed may stand there or not.
KnobReading CgroupActuator::look(const HeldKnob& knob) const {
  const bool is_known =
      knob.slot && knob.announced == knob.settled && !knob.told;
  return at_once_ && is_known ? KnobReading{0, knob.settled} : knob.file.read();
}

Outcome CgroupActuator::write(HeldKnob& knob, const KnobValue& now,
                              const KnobValue& wanted) {
  int error = touch(knob, now);
  if (error == 0) error = write_text(knob, wanted);
  if (error != 0) return failed(error);
  const KnobReading back = knob.file.read();
  if (back.error != 0) return failed(back.error);
  knob.settled = wanted;
  table_->confirm(*knob.slot, wanted.view());
  const bool ours = same_setting(back.text.view(), wanted.view());
  if (!ours) knob.told = back.text;
  return told(ours ? Outcome::Kind::kApplied : Outcome::Kind::kForeign, knob,
              back.text);
}

int CgroupActuator::touch(HeldKnob& knob, const KnobValue& now) {
  if (knob.slot) return 0;
  knob.origin.baseline.assign(now.view());
  auto slot = table_->remember(knob.origin);
  if (!slot) return slot.error().code != 0 ? slot.error().code : ENOSPC;
  knob.slot = *slot;
  // An older one, if an agent before this one had touched it.
  knob.origin.baseline.assign(table_->baseline(*slot));
  return 0;
}

int CgroupActuator::write_text(HeldKnob& knob, const KnobValue& text) {
  table_->announce(*knob.slot, text.view());
  knob.announced = text;
  knob.told.reset();
  ++writes_;
  const int error = knob.file.write(text);
  written_at_ = monotonic_now();
  if (error != 0) {
    knob.announced = knob.settled;
    table_->confirm(*knob.slot, knob.settled.view());
  }
  return error;
}

// --- What others wrote
// --------------------------------------------------------

Result<MilliCpus> CgroupActuator::read_cap(VmId vm) {
  VmKnobs* knobs = find(vm);
  if (knobs == nullptr) return fail(ENOENT, "cpu.max: no such VM");
  const KnobReading now = knobs->find(Knob::kCpuMax)->file.read();
  if (now.error != 0) return fail(now.error, "read cpu.max");
  const auto max = parse_cpu_max(now.text.view());
  if (!max) return fail(EPROTO, "cpu.max is malformed");
  return cap_of(*max);
}

void CgroupActuator::find_foreign(VmId vm, std::vector<ForeignWrite>& found) {
  VmKnobs* knobs = find(vm);
  if (knobs == nullptr) return;
  for (HeldKnob& knob : knobs->all()) {
    if (!knob.slot) continue;
    const KnobReading now = knob.file.read();
    if (now.error != 0 || is_ours(knob, now.text)) continue;
    const auto value = parse_knob(knob.knob, now.text.view());
    if (!value || knob.told == now.text) continue;
    knob.told = now.text;
    found.push_back({vm, knob.knob, knob.index, *value});
  }
}

Result<> CgroupActuator::adopt(VmId vm) {
  VmKnobs* knobs = find(vm);
  if (knobs == nullptr) return fail(ENOENT, "adopt: no such VM");
  for (HeldKnob& knob : knobs->all()) {
    const KnobReading now = knob.file.read();
    if (now.error != 0) return fail(now.error, "adopt " + name_of(knob));
    if (!is_ours(knob, now.text)) adopt(knob, now.text);
  }
  return {};
}

void CgroupActuator::adopt_all() {
  generation_ = table_->generation();
  for (const VmKnobs& vm : vms_) {
    (void)adopt(vm.vm());  // one that cannot be read is of a VM that is going
  }
}

void CgroupActuator::adopt(HeldKnob& knob, const KnobValue& now) {
  forget(knob);
  knob.settled = knob.announced = now;
  knob.told.reset();
}

// --- Baselines back
// -----------------------------------------------------------

Result<> CgroupActuator::restore(VmId vm) {
  VmKnobs* knobs = find(vm);
  return knobs == nullptr ? Result<>{} : restore(*knobs);
}

Result<> CgroupActuator::restore_all() {
  Result<> all;
  for (VmKnobs& vm : vms_) {
    auto restored = restore(vm);
    if (!restored && all) all = std::move(restored);
  }
  return all;
}

std::vector<HeldBaseline> CgroupActuator::held() const {
  std::vector<HeldBaseline> all;
  for (const VmKnobs& vm : vms_) {
    for (const HeldKnob& knob : vm.all()) {
      if (!knob.slot) continue;
      const KnobReading now = knob.file.read();
      all.push_back({.cgroup = knob.origin.cgroup,
                     .attribute = knob.origin.attribute,
                     .present = std::string{now.text.view()},
                     .baseline = knob.origin.baseline,
                     .is_ours = now.error == 0 && is_ours(knob, now.text)});
    }
  }
  return all;
}

Result<> CgroupActuator::restore(VmKnobs& vm) {
  // Whose each is has to be known before the first is written: idle takes the
  // weight along.
  for (HeldKnob& knob : vm.all()) {
    if (!knob.slot) continue;
    const KnobReading now = knob.file.read();
    if (is_gone(now.error)) {
      forget(knob);
    } else if (now.error == 0 && !is_ours(knob, now.text)) {
      adopt(knob, now.text);
    }
  }
  Result<> all;
  const auto put = [&](HeldKnob& knob) {
    auto done = knob.slot ? put_back(knob) : Result<>{};
    if (!done && all) all = std::move(done);
  };
  HeldKnob* burst = vm.find(Knob::kCpuMaxBurst);
  if (burst != nullptr) {
    const bool lowers =
        burst->slot && parse_knob_number(burst->origin.baseline).value_or(0) <=
                           number_in(*burst);
    if (lowers) put(*burst);
  }
  for (HeldKnob& knob : vm.all()) put(knob);
  if (burst != nullptr) vm.burst_wanted_us = number_in(*burst);
  return all;
}

Result<> CgroupActuator::put_back(HeldKnob& knob) {
  const KnobValue baseline{knob.origin.baseline};
  KnobReading now = knob.file.read();
  if (now.error != 0 || !same_setting(now.text.view(), baseline.view())) {
    const int error = write_text(knob, baseline);
    if (is_gone(error)) {
      forget(knob);
      return {};
    }
    if (error != 0) return fail(error, "put back " + name_of(knob));
    now = knob.file.read();
    if (now.error != 0) return fail(now.error, "read " + name_of(knob));
  }
  // Were it another's value by now, it would no longer be ours to put back.
  adopt(knob, now.text);
  return {};
}

void CgroupActuator::forget(HeldKnob& knob) {
  if (!knob.slot) return;
  table_->forget(*knob.slot);
  knob.slot.reset();
}

}  // namespace outrider
