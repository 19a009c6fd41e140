// SPDX-License-Identifier: Apache-2.0
// The decision journal: every call that changes a Controller, in order, with
// what was decided, as bytes and back. Pure; files are the shell's.
//
//   segment  header ("OUTRDECI"), head, state ..., call ..., [gap]
//
// A segment stands alone: its head says where and when, its state is the
// Controller's as the segment began, and no record refers to another segment.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "agent/base/result.h"
#include "agent/base/units.h"
#include "agent/core/controller.h"
#include "agent/core/plan.h"
#include "agent/core/policy.h"
#include "agent/core/record_frame.h"

namespace outrider {

class FieldReader;

inline constexpr std::string_view kJournalMagic = "OUTRDECI";
inline constexpr std::uint16_t kJournalVersion = 7;

// A tick beyond these is not recordable: the segment ends, and a new one
// begins. They keep what is computed from any bytes within 64 bits.
inline constexpr std::int32_t kJournalMilliCpusMax = 1 << 22;  // 4,194 CPUs
inline constexpr Duration kJournalIntervalMax = std::chrono::seconds{600};
inline constexpr std::size_t kJournalVmsMax = 8'192;

/// How a segment begins.
struct SegmentHead {
  std::string agent_version{};
  std::string boot_id{};
  std::string configuration{};    // in effect, as YAML; for people
  Instant at{};                   // when, and
  std::int64_t wall_ns = 0;       // since 1970, the same instant
  std::uint64_t dropped = 0;      // records lost since the segment before
  std::uint64_t state_bytes = 0;  // of the state that follows

  friend bool operator==(const SegmentHead&, const SegmentHead&) = default;
};

/// How long the stages of a tick or an edge took.
struct StageTimes {
  Duration sense{};   // of an edge: from the kernel's call to its being heard
  Duration decide{};  // Controller::tick or edge
  Duration act{};     // Actuator::apply

  friend bool operator==(const StageTimes&, const StageTimes&) = default;
};

/// What came of a tick or an edge. Shape: `outcomes` is as long as `actions`,
/// or empty where they were not settled.
struct Decision {
  std::span<const Action> actions;
  std::span<const Outcome> outcomes;
  StageTimes took;
};

// The calls, each with its arguments. `TickCall` and `EdgeCall` hold what came
// of them as well.
struct TickCall {
  Instant now{};
  Duration interval{};
  std::vector<CpuInput> vms;
  std::vector<Action> actions;
  std::vector<Outcome> outcomes;
  StageTimes took;
  std::uint32_t checksum = 0;  // allocations_checksum() after it

  friend bool operator==(const TickCall&, const TickCall&) = default;
};
struct EdgeCall {
  EdgeInput edge;
  std::vector<Action> actions;
  std::vector<Outcome> outcomes;
  StageTimes took;
};
struct AddCall {
  VmFacts vm;
};
struct RemoveCall {
  VmId vm{};
};
struct ResizeCall {
  VmId vm{};
  std::int64_t vcpus = 1;
};
struct AdoptCall {
  VmId vm{};
  MilliCpus cap;
};
struct ForeignWriteCall {
  VmId vm{};
  Instant now{};
  MilliCpus cap;
};
struct ReleaseCall {
  VmId vm{};
};
struct LetGoCall {
  VmId vm{};
};
struct TakeUpCall {
  VmId vm{};
};
struct ModeCall {
  VmId vm{};
  Mode mode = Mode::kObserve;
};
struct HostModeCall {
  Mode mode = Mode::kObserve;
};
struct ForeseeCall {
  VmId vm{};
  MilliCpus peak;
};
struct LearnedCall {
  std::string uuid;
  std::vector<std::byte> bytes;
};
struct PolicyCall {
  Policy policy;
  std::string configuration;  // that it came from, as YAML; for people
};

/// A part of the Controller's state, of SegmentHead::state_bytes in all.
struct StateChunk {
  std::vector<std::byte> bytes;
};
/// Records were lost here; nothing follows in this segment.
struct Gap {};

/// The pointed-to are the reader's own, valid until its next call.
using JournalRecord =
    std::variant<SegmentHead, StateChunk, const TickCall*, const EdgeCall*,
                 AddCall, RemoveCall, ResizeCall, AdoptCall, ForeignWriteCall,
                 ReleaseCall, LetGoCall, TakeUpCall, ModeCall, HostModeCall,
                 ForeseeCall, LearnedCall, PolicyCall, Gap>;

/// CRC-32C over (target, reserve, lent, loan) of all VMs.
std::uint32_t allocations_checksum(const Controller& controller);

/// Whether a tick is within the bounds above.
bool is_recordable(const TickInput& input);

/// Appends records to buffers that the caller owns and writes out.
/// Invariant: `base_` is the tick that the next one differs from. Allocates for
/// a buffer that is too small, and where there are more VMs than before.
class JournalEncoder {
 public:
  /// Begins a segment: header, head and state.
  void begin(SegmentHead head, std::span<const std::byte> state,
             std::vector<std::byte>& out);
  /// Shape: `input` is recordable, `decision` that of this very tick.
  void tick(const TickInput& input, const Decision& decision,
            std::uint32_t checksum, std::vector<std::byte>& out);
  /// Appends an edge. Shape: as `tick`.
  void edge(const EdgeInput& edge, const Decision& decision,
            std::vector<std::byte>& out);
  /// Appends any of the rest. Shape: no head, state, tick or edge.
  void call(const JournalRecord& record, std::vector<std::byte>& out);

 private:
  bool same_vms(std::span<const CpuInput> vms) const;
  void rebase(std::span<const CpuInput> vms);

  Instant now_{};
  Duration interval_{};
  std::vector<CpuInput> base_;
  std::vector<CpuInput> other_;  // scratch
};

/// Reads one segment's bytes, which may be anything and must outlive it.
/// Invariant: everything that next() gave came from intact records, is in their
/// order, and within the bounds above.
class JournalReader {
 public:
  explicit JournalReader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  /// The next record; none at the end. Errors: "record 7 at byte 1234: torn:
  /// ..."; every call after it fails alike.
  Result<std::optional<JournalRecord>> next();

  /// Number, from 1, of the record that next() gave last.
  std::uint64_t number() const { return number_; }

 private:
  std::optional<JournalRecord> decode(std::span<const std::byte> payload);
  std::optional<JournalRecord> tick(FieldReader& in);
  std::optional<JournalRecord> edge(FieldReader& in);
  void other_vms(FieldReader& in);

  std::span<const std::byte> bytes_;
  std::size_t offset_ = 0;
  std::uint64_t number_ = 0;
  bool ended_ = false;  // by a gap
  std::optional<RecordDamage> damage_;
  TickCall tick_;
  EdgeCall edge_;
  Duration gap_{};  // between the last two ticks
};

}  // namespace outrider
