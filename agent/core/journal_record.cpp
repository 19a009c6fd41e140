// SPDX-License-Identifier: Apache-2.0
#include "agent/core/journal_record.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <utility>

#include "agent/core/journal_fields.h"
#include "agent/core/journal_inputs.h"

namespace outrider {
namespace {

std::size_t begin(JournalType type, std::vector<std::byte>& out) {
  return begin_record(static_cast<std::uint8_t>(type), out);
}

void finish(std::size_t start, std::vector<std::byte>& out) {
  const bool fits = finish_record(start, out);
  assert(fits);  // by the bounds of what is recordable
  (void)fits;    // a build without asserts reads it nowhere
}

std::uint64_t count_of(Instant at) {
  return static_cast<std::uint64_t>(at.time_since_epoch().count());
}

std::uint64_t count_of(Duration span) {
  return static_cast<std::uint64_t>(span.count());
}

void put_decision(const Decision& decision, FieldWriter& out) {
  assert(decision.outcomes.empty() ||
         decision.outcomes.size() == decision.actions.size());
  out(decision.actions.size(), decision.outcomes.empty());
  for (const Action& action : decision.actions) out(action);
  for (const Outcome& outcome : decision.outcomes) out(outcome);
}

/// The type of what call() takes.
struct TypeOf {
  JournalType operator()(const AddCall&) const { return JournalType::kAdd; }
  JournalType operator()(const RemoveCall&) const {
    return JournalType::kRemove;
  }
  JournalType operator()(const ResizeCall&) const {
    return JournalType::kResize;
  }
  JournalType operator()(const AdoptCall&) const { return JournalType::kAdopt; }
  JournalType operator()(const ForeignWriteCall&) const {
    return JournalType::kForeignWrite;
  }
  JournalType operator()(const ReleaseCall&) const {
    return JournalType::kRelease;
  }
  JournalType operator()(const LetGoCall&) const { return JournalType::kLetGo; }
  JournalType operator()(const TakeUpCall&) const {
    return JournalType::kTakeUp;
  }
  JournalType operator()(const ModeCall&) const { return JournalType::kMode; }
  JournalType operator()(const HostModeCall&) const {
    return JournalType::kHostMode;
  }
  JournalType operator()(const ForeseeCall&) const {
    return JournalType::kForesee;
  }
  JournalType operator()(const LearnedCall&) const {
    return JournalType::kLearned;
  }
  JournalType operator()(const PolicyCall&) const {
    return JournalType::kPolicy;
  }
  JournalType operator()(const Gap&) const { return JournalType::kGap; }
  template <class Other>
  JournalType operator()(const Other&) const {
    assert(false);
    return JournalType::kGap;
  }
};

std::int64_t most_of(const CpuInput& input) {
  std::int64_t most = 0;
  const auto take = [&most](std::int64_t figure) {
    most = std::max(most, figure < 0 ? -figure : figure);
  };
  for (const std::int32_t demand : input.demand) take(demand);
  for (const std::int32_t figure : {input.overcounted, input.open_wait,
                                    input.usage, input.wait, input.throttled}) {
    take(figure);
  }
  return most;
}

}  // namespace

std::uint32_t allocations_checksum(const Controller& controller) {
  constexpr std::size_t kFigures = 4;
  std::uint32_t crc = 0;
  for (std::size_t i = 0; i < controller.vm_count(); ++i) {
    const VmState& vm = controller.vm(i);
    std::array<std::byte, kFigures * sizeof(std::uint32_t)> bytes{};
    const std::span<std::byte> all(bytes);
    std::size_t at = 0;
    for (const MilliCpus figure : {vm.target, vm.reserve, vm.lent, vm.loan}) {
      put_fixed(static_cast<std::uint32_t>(figure.count()),
                all.subspan(at, sizeof(std::uint32_t)));
      at += sizeof(std::uint32_t);
    }
    crc = crc32c(all, crc);
  }
  return crc;
}

bool is_recordable(const TickInput& input) {
  return input.interval >= Duration{} &&
         input.interval <= kJournalIntervalMax &&
         input.vms.size() <= kJournalVmsMax &&
         std::ranges::all_of(input.vms, [](const CpuInput& vm) {
           return most_of(vm) <= kJournalMilliCpusMax;
         });
}

void JournalEncoder::begin(SegmentHead head, std::span<const std::byte> state,
                           std::vector<std::byte>& out) {
  put_header(kJournalMagic, kJournalVersion, out);
  head.state_bytes = state.size();
  const std::size_t start = outrider::begin(JournalType::kHead, out);
  FieldWriter writer(out);
  writer(head);
  finish(start, out);
  while (!state.empty()) {
    const auto chunk = state.first(std::min(state.size(), kStateChunkBytes));
    const std::size_t chunk_start = outrider::begin(JournalType::kState, out);
    FieldWriter(out).blob(chunk);
    finish(chunk_start, out);
    state = state.subspan(chunk.size());
  }
  now_ = head.at;
  interval_ = {};
  base_.clear();
}

bool JournalEncoder::same_vms(std::span<const CpuInput> vms) const {
  return std::ranges::equal(vms, base_, {}, &CpuInput::vm, &CpuInput::vm);
}

// What is known of each VM goes with it; what is new begins at nothing.
void JournalEncoder::rebase(std::span<const CpuInput> vms) {
  other_.clear();
  auto known = base_.begin();
  for (const CpuInput& vm : vms) {
    while (known != base_.end() && known->vm < vm.vm) ++known;
    const bool is_known = known != base_.end() && known->vm == vm.vm;
    other_.push_back(is_known ? *known : CpuInput{.vm = vm.vm});
  }
  std::swap(base_, other_);
}

void JournalEncoder::tick(const TickInput& input, const Decision& decision,
                          std::uint32_t checksum, std::vector<std::byte>& out) {
  const std::size_t start = outrider::begin(JournalType::kTick, out);
  const bool is_same = same_vms(input.vms);
  FieldWriter writer(out);
  ByteWriter& bytes = writer.bytes();
  bytes.u8(static_cast<std::uint8_t>(
      (is_same ? 0 : kOtherVms) | (decision.actions.empty() ? 0 : kActions)));
  // A tick is expected as long after the last as that was after the one before.
  bytes.step(count_of(now_ + interval_), count_of(input.now));
  bytes.step(count_of(input.now - now_), count_of(input.interval));
  interval_ = input.now - now_;
  now_ = input.now;
  if (!is_same) {
    rebase(input.vms);
    bytes.varint(input.vms.size());
    std::uint64_t last = 0;
    for (const CpuInput& vm : input.vms) {
      bytes.varint(std::uint32_t(vm.vm) - last);
      last = std::uint32_t(vm.vm);
    }
  }
  encode_inputs(input.vms, base_, bytes);
  std::ranges::copy(input.vms, base_.begin());
  if (!decision.actions.empty()) put_decision(decision, writer);
  writer(decision.took);
  std::array<std::byte, sizeof(checksum)> fixed{};
  put_fixed(checksum, fixed);
  out.insert(out.end(), fixed.begin(), fixed.end());
  finish(start, out);
}

void JournalEncoder::edge(const EdgeInput& edge, const Decision& decision,
                          std::vector<std::byte>& out) {
  const std::size_t start = outrider::begin(JournalType::kEdge, out);
  FieldWriter writer(out);
  writer(edge);
  put_decision(decision, writer);
  writer(decision.took);
  finish(start, out);
}

void JournalEncoder::call(const JournalRecord& record,
                          std::vector<std::byte>& out) {
  const std::size_t start = outrider::begin(std::visit(TypeOf{}, record), out);
  FieldWriter writer(out);
  std::visit(
      [&writer](const auto& one) {
        using One = std::remove_cvref_t<decltype(one)>;
        if constexpr (!std::is_pointer_v<One> &&
                      !std::is_same_v<One, StateChunk>) {
          writer(one);
        }
      },
      record);
  finish(start, out);
}

}  // namespace outrider
