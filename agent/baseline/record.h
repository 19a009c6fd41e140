// SPDX-License-Identifier: Apache-2.0
// One record of the table: sealing it, reading it, and whose a value is.
// Nothing here allocates, locks or calls the kernel.
#pragma once

#include <cstdint>
#include <string_view>

#include "agent/baseline/layout.h"

namespace outrider {

/// Sums of records of one boot start with this.
std::uint32_t boot_seed(std::string_view boot_id);

/// `text` up to its NUL, at most `bytes` of it.
std::string_view padded_text(const char* text, std::size_t bytes);
inline std::string_view cgroup_of(const KnobRecord& knob) {
  return padded_text(knob.cgroup, sizeof(knob.cgroup));
}
inline std::string_view attribute_of(const KnobRecord& knob) {
  return padded_text(knob.attribute, sizeof(knob.attribute));
}
inline std::string_view baseline_of(const KnobRecord& knob) {
  return padded_text(knob.baseline, sizeof(knob.baseline));
}

/// The sum of a knob's record.
std::uint32_t seal(const KnobRecord& knob, std::uint32_t seed);

enum class RecordSort : std::uint8_t { kNone, kBad, kGood };
/// Copies what never changes, then judges the copy: its writer may be alive.
/// kNone: free. kBad: live, but torn or forged; `knob` is not to be used.
RecordSort copy_knob(const BaselineRecord& record, std::uint32_t seed,
                     KnobRecord& knob);

/// Puts `text` (at most 47 bytes) into written[index] of the record. At any
/// point of it the record is right: the text stands there whole, or not at all.
void put_written(BaselineRecord& record, std::uint32_t index,
                 std::string_view text);
void clear_written(BaselineRecord& record, std::uint32_t index);

/// Whether written[index] holds `text`, as same_words has it.
bool holds_written(const BaselineRecord& record, std::uint32_t index,
                   std::string_view text);
/// Whether any does: then it was us who wrote it.
bool is_ours(const BaselineRecord& record, std::string_view present);

/// Equal but for the white space around and between the words.
bool same_words(std::string_view a, std::string_view b);

}  // namespace outrider
