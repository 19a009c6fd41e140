// SPDX-License-Identifier: Apache-2.0
// Fourteen days of one VM's CPU demand, a peak and a quantile for each five
// minutes of wall-clock time.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "agent/base/result.h"
#include "agent/base/units.h"

namespace outrider {

/// Unix time in units of kSlotSeconds, rounded down.
using Slot = std::int64_t;
inline constexpr std::int64_t kSlotSeconds = 300;
Slot slot_of(std::int64_t unix_seconds);

/// Demand in milli-CPU. Both NaN: nothing was seen.
struct SlotFigures {
  float peak = std::numeric_limits<float>::quiet_NaN();
  float p95 = std::numeric_limits<float>::quiet_NaN();  // of its samples
};

/// What a slot's samples demanded; they are taken each slow_period_ms.
/// Invariant: allocates nothing.
class SlotSamples {
 public:
  /// What is negative is taken for 0.
  void add(MilliCpus demand);
  bool is_empty() const { return count_ == 0; }
  /// p95 is right to one of kParts, upward, and not above the peak.
  SlotFigures figures() const;
  /// The next slot begins.
  void clear();

 private:
  static constexpr std::size_t kOctaves = 20;  // 1 .. a million milli-CPU
  static constexpr std::size_t kParts = 16;    // of an octave
  // A float's upper bits, down to this one, count parts of octaves.
  static_assert(std::has_single_bit(kParts));
  static constexpr int kPartShift =
      std::numeric_limits<float>::digits - 1 - std::countr_zero(kParts);

  // By demand. A slot has up to 6,000; where a clock that stands still gives
  // it more, those that a place has no room for are not counted.
  std::array<std::uint16_t, kOctaves * kParts> samples_{};
  std::uint32_t count_ = 0;  // in samples_
  MilliCpus most_;
};

/// Invariant: figures are kept of the slots up to `newest_` and from 14 days
/// before it on; each is not negative, or missing. Kept as the upper halves of
/// floats: right to 0.4 %.
class Rollup {
 public:
  static constexpr std::size_t kSlots = 4032;
  static constexpr std::size_t kBytes = 24 + 4 * kSlots;
  static_assert(kBytes <= 16384);
  static constexpr float kMost = 0x1p31F;  // milli-CPU: two million CPUs

  Rollup();

  /// Figures of a slot. One newer than all shifts the window, and what lies
  /// between is missing; of one that is held the larger figures count, as
  /// after a restart in its midst. One that is older than the window is
  /// ignored. Shape: not negative; what is above kMost is taken for that.
  void put(Slot slot, SlotFigures figures);

  bool is_empty() const { return known_ == 0; }
  /// Asks for one that is not empty.
  Slot newest() const { return newest_; }
  /// Slots that are not missing.
  std::size_t known() const { return known_; }
  /// Missing, where nothing was put.
  SlotFigures at(Slot slot) const;
  /// The p95s, oldest first, to the newest. NaN: missing; it does not begin
  /// with one.
  std::vector<double> p95s() const;
  /// Of all that is kept; 0: nothing is.
  float highest_peak() const;

  /// Shape: kBytes, little-endian: magic, version, CRC-32C of what follows,
  /// newest slot, peaks, p95s.
  std::vector<std::byte> save() const;
  /// Errors: damaged (code 0); of another version (ENOTSUP).
  static Result<Rollup> load(std::span<const std::byte> bytes);

 private:
  bool holds(Slot slot) const;
  void shift_to(Slot slot);

  Slot newest_ = 0;
  std::size_t known_ = 0;
  // Shape: [kSlots]; a slot's place is its remainder.
  std::vector<std::uint16_t> peaks_;
  std::vector<std::uint16_t> p95s_;
};

}  // namespace outrider
