// SPDX-License-Identifier: Apache-2.0
// What the files of the cpu controller say, and how to say it to them. Pure.
#pragma once

#include <array>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "agent/base/units.h"
#include "agent/core/plan.h"

namespace outrider {

/// A knob's whole value. Invariant: at most kBytesMax bytes, then a newline.
class KnobValue {
 public:
  static constexpr std::size_t kBytesMax = 47;  // BaselineTable's bound

  KnobValue() { bytes_[0] = '\n'; }
  /// `text` has at most kBytesMax bytes.
  explicit KnobValue(std::string_view text) : size_(text.size()) {
    assert(size_ <= kBytesMax);
    text.copy(bytes_.data(), size_);
    bytes_[size_] = '\n';
  }
  std::string_view view() const { return {bytes_.data(), size_}; }
  /// With the newline: as it is written.
  std::string_view line() const { return {bytes_.data(), size_ + 1}; }

  friend bool operator==(const KnobValue& a, const KnobValue& b) {
    return a.view() == b.view();
  }

 private:
  std::array<char, kBytesMax + 1> bytes_{};
  std::size_t size_ = 0;
};

/// cpu.max. `quota_us` -1: no cap.
struct CpuMax {
  std::int64_t quota_us = -1;
  std::int64_t period_us = 100'000;

  friend bool operator==(const CpuMax&, const CpuMax&) = default;
};
/// "max 100000", "20000 100000".
std::optional<CpuMax> parse_cpu_max(std::string_view text);
/// cpu.max.burst, cpu.weight, cpu.idle.
std::optional<std::int64_t> parse_knob_number(std::string_view text);

/// Rounded up to a whole microsecond, and never less than the kernel takes.
CpuMax make_cpu_max(MilliCpus cap, Duration period);
/// Rounded down: for a cap of at least kQuotaMinUs, what make_cpu_max was
/// given.
MilliCpus cap_of(const CpuMax& max);
inline constexpr std::int64_t kQuotaMinUs = 1000;  // min_cfs_quota_period

KnobValue format_cpu_max(const CpuMax& max);
KnobValue format_knob_number(std::int64_t number);

/// An Action's value as its file wants it. `period`: of the caps.
KnobValue format_knob(Knob knob, std::int64_t value, Duration period);
/// What a file says, as an Action's value.
std::optional<std::int64_t> parse_knob(Knob knob, std::string_view text);

/// Whether two texts of one knob say the same: word by word, numbers as
/// numbers. The cpu controller keeps what it was given to the microsecond, so
/// nothing else is let pass.
bool same_setting(std::string_view a, std::string_view b);

}  // namespace outrider
