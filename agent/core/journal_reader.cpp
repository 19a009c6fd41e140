// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <utility>

#include "agent/core/journal_fields.h"
#include "agent/core/journal_inputs.h"
#include "agent/core/journal_record.h"

namespace outrider {
namespace {

constexpr std::size_t kActionsMax = 1 << 20;

std::uint64_t count_of(Instant at) {
  return static_cast<std::uint64_t>(at.time_since_epoch().count());
}

Instant instant_of(std::uint64_t ns, FieldReader& in) {
  const bool is_one = ns <= static_cast<std::uint64_t>(kInstantMax);
  in.want(is_one);
  return Instant{Duration{is_one ? static_cast<std::int64_t>(ns) : 0}};
}

/// `record`, or nothing.
template <class Call>
std::optional<JournalRecord> whole(FieldReader& in) {
  Call call;
  in(call);
  if (!in.done()) return std::nullopt;
  return JournalRecord{std::move(call)};
}

void get_decision(FieldReader& in, std::vector<Action>& actions,
                  std::vector<Outcome>& outcomes) {
  actions.resize(in.bytes().count(kActionsMax));
  bool is_unsettled = false;
  in(is_unsettled);
  outcomes.resize(is_unsettled ? 0 : actions.size());
  for (Action& action : actions) in(action);
  for (Outcome& outcome : outcomes) in(outcome);
}

}  // namespace

Result<std::optional<JournalRecord>> JournalReader::next() {
  if (offset_ == 0 && !damage_) {
    damage_ = check_header(bytes_, kJournalMagic, kJournalVersion);
    if (!damage_) offset_ = kHeaderBytes;
  }
  const auto broken = [this] {
    return fail(0, "record " + std::to_string(number_ + 1) + " at byte " +
                       std::to_string(offset_) + ": " + to_text(*damage_));
  };
  if (damage_) return broken();
  const auto rest = bytes_.subspan(offset_);
  if (rest.empty()) return std::optional<JournalRecord>{};
  const FramedRecord record = take_record(rest);
  damage_ = record.damage;
  if (damage_) return broken();
  auto decoded = decode(record.payload);
  if (!decoded) {
    damage_ = RecordDamage::kSenseless;
    return broken();
  }
  offset_ += kFrameBytes + record.payload.size();
  ++number_;
  return decoded;
}

std::optional<JournalRecord> JournalReader::decode(
    std::span<const std::byte> payload) {
  const auto type = static_cast<JournalType>(payload.front());
  // The head comes first, and nothing after a gap.
  if ((type == JournalType::kHead) != (number_ == 0) || ended_) {
    return std::nullopt;
  }
  FieldReader in(payload.subspan(1));
  switch (type) {
    case JournalType::kHead: {
      auto head = whole<SegmentHead>(in);
      if (head) tick_.now = std::get<SegmentHead>(*head).at;
      return head;
    }
    case JournalType::kState: {
      StateChunk chunk;
      in.blob(chunk.bytes, kStateChunkBytes);
      if (!in.done()) return std::nullopt;
      return JournalRecord{std::move(chunk)};
    }
    case JournalType::kTick:
      return tick(in);
    case JournalType::kEdge:
      return edge(in);
    case JournalType::kAdd:
      return whole<AddCall>(in);
    case JournalType::kRemove:
      return whole<RemoveCall>(in);
    case JournalType::kResize:
      return whole<ResizeCall>(in);
    case JournalType::kAdopt:
      return whole<AdoptCall>(in);
    case JournalType::kForeignWrite:
      return whole<ForeignWriteCall>(in);
    case JournalType::kRelease:
      return whole<ReleaseCall>(in);
    case JournalType::kLetGo:
      return whole<LetGoCall>(in);
    case JournalType::kTakeUp:
      return whole<TakeUpCall>(in);
    case JournalType::kMode:
      return whole<ModeCall>(in);
    case JournalType::kHostMode:
      return whole<HostModeCall>(in);
    case JournalType::kLearned:
      return whole<LearnedCall>(in);
    case JournalType::kForesee:
      return whole<ForeseeCall>(in);
    case JournalType::kPolicy:
      return whole<PolicyCall>(in);
    case JournalType::kGap:
      ended_ = true;
      return whole<Gap>(in);
  }
  return std::nullopt;
}

void JournalReader::other_vms(FieldReader& in) {
  std::vector<CpuInput> vms(in.bytes().count(kJournalVmsMax));
  std::uint64_t last = 0;
  auto known = tick_.vms.begin();
  for (std::size_t i = 0; i < vms.size() && in.ok(); ++i) {
    const std::uint64_t way = in.bytes().varint32();
    in.want((way > 0 || i == 0) && last + way <= 0xFFFFFFFF);
    last += way;
    const VmId id{static_cast<std::uint32_t>(last)};
    while (known != tick_.vms.end() && known->vm < id) ++known;
    const bool is_known = known != tick_.vms.end() && known->vm == id;
    vms[i] = is_known ? *known : CpuInput{.vm = id};
  }
  tick_.vms = std::move(vms);
}

std::optional<JournalRecord> JournalReader::tick(FieldReader& in) {
  ByteReader& bytes = in.bytes();
  const std::uint8_t flags = bytes.u8();
  in.want((flags & ~(kOtherVms | kActions)) == 0);
  const Instant before = tick_.now;
  tick_.now = instant_of(bytes.step(count_of(before + gap_)), in);
  gap_ = tick_.now - before;
  const auto interval = static_cast<std::int64_t>(
      bytes.step(static_cast<std::uint64_t>(gap_.count())));
  in.want(interval >= 0 && interval <= kJournalIntervalMax.count());
  tick_.interval = Duration{in.ok() ? interval : 0};
  if ((flags & kOtherVms) != 0) other_vms(in);
  decode_inputs(bytes, tick_.vms);
  tick_.actions.clear();
  tick_.outcomes.clear();
  if ((flags & kActions) != 0) {
    get_decision(in, tick_.actions, tick_.outcomes);
  }
  in(tick_.took);
  std::array<std::byte, sizeof(tick_.checksum)> fixed{};
  for (std::byte& byte : fixed) byte = std::byte{bytes.u8()};
  tick_.checksum = get_fixed(fixed);
  if (!in.done()) return std::nullopt;
  return JournalRecord{&std::as_const(tick_)};
}

std::optional<JournalRecord> JournalReader::edge(FieldReader& in) {
  in(edge_.edge);
  get_decision(in, edge_.actions, edge_.outcomes);
  in(edge_.took);
  if (!in.done()) return std::nullopt;
  return JournalRecord{&std::as_const(edge_)};
}

}  // namespace outrider
