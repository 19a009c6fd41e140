// SPDX-License-Identifier: Apache-2.0
// The members of the journal's records, for both ways; and their types' numbers
// on file.
#pragma once

#include <cstdint>

#include "agent/core/fields_io.h"
#include "agent/core/journal_record.h"

namespace outrider {

enum class JournalType : std::uint8_t {
  kHead = 1,
  kState,
  kTick,
  kEdge,
  kAdd,
  kRemove,
  kResize,
  kAdopt,
  kForeignWrite,
  kRelease,
  kLetGo,
  kTakeUp,
  kMode,
  kHostMode,
  kPolicy,
  kGap,
  kLearned,
  kForesee,
};

// Bits of a tick's first byte.
inline constexpr std::uint8_t kOtherVms = 1;  // their ids follow
inline constexpr std::uint8_t kActions = 2;   // actions follow

inline constexpr std::size_t kStateChunkBytes = std::size_t{1} << 20;

constexpr EdgeInput::Kind last_of(EdgeInput::Kind) {
  return EdgeInput::Kind::kWait;
}

template <class Io>
void fields(Io& io, Field<Io, SegmentHead>& all) {
  auto& [agent_version, boot_id, configuration, at, wall_ns, dropped,
         state_bytes] = all;
  io(agent_version, boot_id);
  io.long_text(configuration);
  io(at, wall_ns, dropped, state_bytes);
}

template <class Io>
void fields(Io& io, Field<Io, StageTimes>& all) {
  auto& [sense, decide, act] = all;
  io(sense, decide, act);
}

template <class Io>
void fields(Io& io, Field<Io, EdgeInput>& all) {
  auto& [at, vm, kind, value] = all;
  io(at, vm, kind, value);
}

template <class Io>
void fields(Io& io, Field<Io, Action>& all) {
  auto& [vm, knob, index, reason, value, old] = all;
  io(vm, knob, index, reason, value, old);
  want(io, value >= -kMilliCpusMax && value <= kMilliCpusMax);
  want(io, old >= -kMilliCpusMax && old <= kMilliCpusMax);
}

template <class Io>
void fields(Io& io, Field<Io, Outcome>& all) {
  auto& [kind, error, value] = all;
  io(kind, error, value);
  want(io, value >= -kMilliCpusMax && value <= kMilliCpusMax);
}

template <class Io>
void fields(Io& io, Field<Io, AddCall>& all) {
  io(all.vm);
}
template <class Io>
void fields(Io& io, Field<Io, RemoveCall>& all) {
  io(all.vm);
}
template <class Io>
void fields(Io& io, Field<Io, ResizeCall>& all) {
  io(all.vm, all.vcpus);
  want(io, all.vcpus >= 1 && all.vcpus <= 65'536);
}
template <class Io>
void fields(Io& io, Field<Io, AdoptCall>& all) {
  io(all.vm, all.cap);
}
template <class Io>
void fields(Io& io, Field<Io, ForeignWriteCall>& all) {
  io(all.vm, all.now, all.cap);
}
template <class Io>
void fields(Io& io, Field<Io, ReleaseCall>& all) {
  io(all.vm);
}
template <class Io>
void fields(Io& io, Field<Io, LetGoCall>& all) {
  io(all.vm);
}
template <class Io>
void fields(Io& io, Field<Io, TakeUpCall>& all) {
  io(all.vm);
}
template <class Io>
void fields(Io& io, Field<Io, ModeCall>& all) {
  io(all.vm, all.mode);
}
template <class Io>
void fields(Io& io, Field<Io, HostModeCall>& all) {
  io(all.mode);
}
template <class Io>
void fields(Io& io, Field<Io, ForeseeCall>& all) {
  io(all.vm, all.peak);
}
template <class Io>
void fields(Io& io, Field<Io, LearnedCall>& all) {
  io(all.uuid);
  if constexpr (Io::kReads) {
    io.blob(all.bytes, kStateChunkBytes);
  } else {
    io.blob(all.bytes);
  }
}
template <class Io>
void fields(Io& io, Field<Io, PolicyCall>& all) {
  io(all.policy);
  io.long_text(all.configuration);
}
template <class Io>
void fields(Io&, Field<Io, Gap>&) {}

}  // namespace outrider
