// SPDX-License-Identifier: Apache-2.0
#include "agent/knob_value.h"

#include <algorithm>
#include <charconv>

namespace outrider {
namespace {

constexpr std::string_view kMax = "max";

// string_view's own search calls memchr for every byte: a tenth of an apply.
bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n'; }

// The first word; what is left of `text` begins behind it.
std::string_view take_word(std::string_view& text) {
  std::size_t start = 0;
  while (start < text.size() && is_blank(text[start])) ++start;
  std::size_t end = start;
  while (end < text.size() && !is_blank(text[end])) ++end;
  const std::string_view word = text.substr(start, end - start);
  text.remove_prefix(end);
  return word;
}

std::optional<std::int64_t> whole_number(std::string_view word) {
  std::int64_t number = 0;
  const char* end = word.data() + word.size();
  const auto [stop, error] = std::from_chars(word.data(), end, number);
  if (error != std::errc{} || stop != end || number < 0) return std::nullopt;
  return number;
}

// As the kernel prints a number, and we: two that differ need not be read.
bool has_no_leading_zero(std::string_view word) {
  return !word.empty() && word[0] >= '1' && word[0] <= '9';
}

bool same_word(std::string_view a, std::string_view b) {
  if (a == b) return true;
  if (has_no_leading_zero(a) && has_no_leading_zero(b)) return false;
  const auto first = whole_number(a);
  return first && first == whole_number(b);
}

// On the way of an edge: no format string has to be read.
class Text {
 public:
  void add(std::string_view word) {
    end_ += word.copy(end_, static_cast<std::size_t>(room_.end() - end_));
  }
  void add(std::int64_t number) {
    end_ = std::to_chars(end_, room_.end(), number).ptr;
  }
  KnobValue value() const {
    return KnobValue{
        {room_.data(), static_cast<std::size_t>(end_ - room_.data())}};
  }

 private:
  std::array<char, KnobValue::kBytesMax> room_;  // twice 19 digits fit
  char* end_ = room_.data();
};

std::int64_t microseconds(Duration time) {
  return std::chrono::duration_cast<std::chrono::microseconds>(time).count();
}

}  // namespace

std::optional<CpuMax> parse_cpu_max(std::string_view text) {
  const std::string_view quota = take_word(text);
  const auto period = whole_number(take_word(text));
  if (!period || *period == 0 || !take_word(text).empty()) return std::nullopt;
  if (quota == kMax) return CpuMax{.quota_us = -1, .period_us = *period};
  const auto quota_us = whole_number(quota);
  if (!quota_us) return std::nullopt;
  return CpuMax{.quota_us = *quota_us, .period_us = *period};
}

std::optional<std::int64_t> parse_knob_number(std::string_view text) {
  const auto number = whole_number(take_word(text));
  if (!take_word(text).empty()) return std::nullopt;
  return number;
}

CpuMax make_cpu_max(MilliCpus cap, Duration period) {
  const std::int64_t period_us = microseconds(period);
  if (cap.count() < 0) return {.quota_us = -1, .period_us = period_us};
  const std::int64_t quota_us = (cap.count() * period_us + 999) / 1000;
  return {.quota_us = std::max(quota_us, kQuotaMinUs), .period_us = period_us};
}

MilliCpus cap_of(const CpuMax& max) {
  if (max.quota_us < 0) return MilliCpus{-1};
  return MilliCpus{max.quota_us * 1000 / max.period_us};
}

KnobValue format_cpu_max(const CpuMax& max) {
  Text text;
  if (max.quota_us < 0) {
    text.add(kMax);
  } else {
    text.add(max.quota_us);
  }
  text.add(" ");
  text.add(max.period_us);
  return text.value();
}

KnobValue format_knob_number(std::int64_t number) {
  Text text;
  text.add(number);
  return text.value();
}

KnobValue format_knob(Knob knob, std::int64_t value, Duration period) {
  const bool is_cap = knob == Knob::kCpuMax || knob == Knob::kVcpuMax;
  return is_cap ? format_cpu_max(make_cpu_max(MilliCpus{value}, period))
                : format_knob_number(value);
}

std::optional<std::int64_t> parse_knob(Knob knob, std::string_view text) {
  if (knob != Knob::kCpuMax && knob != Knob::kVcpuMax) {
    return parse_knob_number(text);
  }
  const auto max = parse_cpu_max(text);
  if (!max) return std::nullopt;
  return cap_of(*max).count();
}

bool same_setting(std::string_view a, std::string_view b) {
  if (a == b) return true;
  while (true) {
    const std::string_view one = take_word(a);
    const std::string_view other = take_word(b);
    if (!same_word(one, other)) return false;
    if (one.empty()) return true;
  }
}

}  // namespace outrider
