// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/act/fake_baseline.h"

namespace outrider {

FakeBaseline& fake_baseline() {
  static FakeBaseline fake;
  return fake;
}

void reset_fake_baseline() { fake_baseline() = FakeBaseline{}; }

const FakeRecord* FakeBaseline::find(const std::string& cgroup,
                                     const std::string& attribute) const {
  for (const auto& [slot, record] : live) {
    if (record.knob.cgroup == cgroup && record.knob.attribute == attribute) {
      return &record;
    }
  }
  return nullptr;
}

struct BaselineTable::Inside {
  std::uint32_t next = 0;
};

BaselineTable::BaselineTable(std::unique_ptr<Inside> inside)
    : inside_(std::move(inside)) {}
BaselineTable::BaselineTable(BaselineTable&&) noexcept = default;
BaselineTable& BaselineTable::operator=(BaselineTable&&) noexcept = default;
BaselineTable::~BaselineTable() = default;

Result<BaselineTable> BaselineTable::open(const std::string& /*dir*/,
                                          const std::string& /*mount*/) {
  return BaselineTable{std::make_unique<Inside>()};
}

Result<BaselineSlot> BaselineTable::remember(const KnobBaseline& knob) {
  FakeBaseline& fake = fake_baseline();
  if (fake.refuse_with != 0) return fail(fake.refuse_with, "refused");
  for (const auto& [slot, record] : fake.live) {
    if (record.knob.cgroup_id == knob.cgroup_id &&
        record.knob.attribute == knob.attribute) {
      return BaselineSlot{slot};
    }
  }
  const std::uint32_t slot = inside_->next++;
  fake.live[slot] = {knob, "", knob.baseline};
  return BaselineSlot{slot};
}

void BaselineTable::announce(BaselineSlot slot, std::string_view text) {
  fake_baseline().live[static_cast<std::uint32_t>(slot)].announced = text;
  if (fake_baseline().on_announce) fake_baseline().on_announce();
}

void BaselineTable::confirm(BaselineSlot slot, std::string_view text) {
  fake_baseline().live[static_cast<std::uint32_t>(slot)].confirmed = text;
}

std::string_view BaselineTable::baseline(BaselineSlot slot) const {
  return fake_baseline().live[static_cast<std::uint32_t>(slot)].knob.baseline;
}

void BaselineTable::forget(BaselineSlot slot) {
  fake_baseline().live.erase(static_cast<std::uint32_t>(slot));
}

std::uint64_t BaselineTable::generation() const {
  return fake_baseline().generation;
}

}  // namespace outrider
