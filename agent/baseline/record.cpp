// SPDX-License-Identifier: Apache-2.0
#include "agent/baseline/record.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cstring>
#include <span>

#include "agent/base/crc32c.h"

namespace outrider {
namespace {

constexpr std::string_view kBlanks = " \t\n";

// A text is sealed with its record's sum, so that one that strayed in from
// another record does not count. 0 is kept for "none".
std::uint32_t seal_text(const BaselineRecord& record, const char* text) {
  const std::uint32_t crc = crc32c(
      std::as_bytes(std::span{text, sizeof(WrittenText::text)}), record.crc);
  return crc == 0 ? 1 : crc;
}

// The next word, taken off the front of `text`; empty at its end.
std::string_view take_word(std::string_view& text) {
  const std::size_t begin = text.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) return text = {};
  text.remove_prefix(begin);
  const std::size_t end = std::min(text.find_first_of(kBlanks), text.size());
  const std::string_view word = text.substr(0, end);
  text.remove_prefix(end);
  return word;
}

// Each text ends within its room, and the attribute is a name and no path.
bool is_well_formed(const KnobRecord& knob) {
  return knob.cgroup_id != 0 && knob.cgroup_bytes < sizeof(knob.cgroup) &&
         cgroup_of(knob).size() == knob.cgroup_bytes &&
         attribute_of(knob).size() < sizeof(knob.attribute) &&
         baseline_of(knob).size() < sizeof(knob.baseline) &&
         attribute_of(knob).find('/') == std::string_view::npos;
}

}  // namespace

std::uint32_t boot_seed(std::string_view boot_id) {
  return crc32c(std::as_bytes(std::span{boot_id.data(), boot_id.size()}));
}

std::string_view padded_text(const char* text, std::size_t bytes) {
  return {text, strnlen(text, bytes)};
}

std::uint32_t seal(const KnobRecord& knob, std::uint32_t seed) {
  const std::size_t covered =
      offsetof(KnobRecord, cgroup) +
      std::min<std::size_t>(knob.cgroup_bytes, sizeof(knob.cgroup) - 1) + 1;
  return crc32c(std::as_bytes(std::span{&knob, 1}).first(covered), seed);
}

RecordSort copy_knob(const BaselineRecord& record, std::uint32_t seed,
                     KnobRecord& knob) {
  const RecordState state = record.state.load(std::memory_order_acquire);
  if (state == RecordState::kFree) return RecordSort::kNone;
  knob = record.knob;
  const bool good = state == RecordState::kLive && is_well_formed(knob) &&
                    seal(knob, seed) == record.crc;
  return good ? RecordSort::kGood : RecordSort::kBad;
}

void put_written(BaselineRecord& record, std::uint32_t index,
                 std::string_view text) {
  WrittenText& written = record.written[index];
  assert(text.size() < sizeof(written.text));
  written.crc.store(0, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);
  std::fill(text.copy(written.text, text.size()) + written.text,
            std::end(written.text), '\0');
  written.crc.store(seal_text(record, written.text), std::memory_order_release);
}

void clear_written(BaselineRecord& record, std::uint32_t index) {
  record.written[index].crc.store(0, std::memory_order_release);
}

bool holds_written(const BaselineRecord& record, std::uint32_t index,
                   std::string_view text) {
  const WrittenText& written = record.written[index];
  const std::uint32_t crc = written.crc.load(std::memory_order_acquire);
  if (crc == 0) return false;
  std::array<char, sizeof(written.text)> copy;
  std::memcpy(copy.data(), written.text, copy.size());
  return crc == seal_text(record, copy.data()) &&
         same_words(padded_text(copy.data(), copy.size()), text);
}

bool is_ours(const BaselineRecord& record, std::string_view present) {
  for (std::uint32_t i = 0; i <= kRestorerText; ++i) {
    if (holds_written(record, i, present)) return true;
  }
  return false;
}

bool same_words(std::string_view a, std::string_view b) {
  for (;;) {
    const std::string_view word = take_word(a);
    if (word != take_word(b)) return false;
    if (word.empty()) return true;
  }
}

}  // namespace outrider
