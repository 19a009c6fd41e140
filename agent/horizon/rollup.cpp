// SPDX-License-Identifier: Apache-2.0
#include "agent/horizon/rollup.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cerrno>
#include <cmath>
#include <string>
#include <string_view>

#include "agent/base/crc32c.h"
#include "agent/base/half_float.h"

namespace outrider {
namespace {

constexpr std::string_view kMagic = "OUTRROLL";
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kCrcAt = 12;
constexpr std::size_t kSummedAt = 16;

// As far as anybody's clock goes: keeps sums of slots within 64 bits.
constexpr Slot kSlotMost = std::int64_t{1} << 40;

constexpr std::uint32_t kOneBits = std::bit_cast<std::uint32_t>(1.0F);

constexpr std::uint16_t kMissing =
    halved(std::numeric_limits<float>::quiet_NaN());

bool is_time(Slot slot) { return slot >= -kSlotMost && slot <= kSlotMost; }

bool is_missing(std::uint16_t half) { return std::isnan(widened(half)); }

std::size_t place_of(Slot slot) {
  constexpr auto kSlots = static_cast<Slot>(Rollup::kSlots);
  return static_cast<std::size_t>(((slot % kSlots) + kSlots) % kSlots);
}

template <class T>
void append(T value, std::vector<std::byte>& out) {
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    out.push_back(static_cast<std::byte>(value >> (8 * i)));
  }
}

/// Shape: `bytes` holds a T at `at`.
template <class T>
T value_at(std::span<const std::byte> bytes, std::size_t at) {
  T value = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    const auto byte = std::to_integer<T>(bytes[at + i]);
    value = static_cast<T>(value | static_cast<T>(byte << (8 * i)));
  }
  return value;
}

/// Whether it is what put() may have kept.
bool is_figure(std::uint16_t half) {
  const float value = widened(half);
  return std::isnan(value) ? half == kMissing
                           : value >= 0 && value <= Rollup::kMost;
}

}  // namespace

Slot slot_of(std::int64_t unix_seconds) {
  const std::int64_t rest = unix_seconds % kSlotSeconds;
  return (unix_seconds - rest) / kSlotSeconds - (rest < 0 ? 1 : 0);
}

void SlotSamples::add(MilliCpus demand) {
  most_ = std::max(most_, demand);
  const auto wanted =
      static_cast<float>(std::max(demand, MilliCpus{1}).count());
  const std::size_t part =
      (std::bit_cast<std::uint32_t>(wanted) - kOneBits) >> kPartShift;
  std::uint16_t& alike = samples_[std::min(part, samples_.size() - 1)];
  if (alike == std::numeric_limits<std::uint16_t>::max()) return;
  ++alike;
  ++count_;
}

SlotFigures SlotSamples::figures() const {
  if (count_ == 0) return {};
  const auto peak = static_cast<float>(most_.count());
  std::uint32_t above = count_ / 20;  // samples that may be above it
  std::size_t part = samples_.size();
  while (part > 0 && samples_[part - 1] <= above) above -= samples_[--part];
  const float end = std::bit_cast<float>(
      static_cast<std::uint32_t>(kOneBits + (part << kPartShift)));
  return {.peak = peak, .p95 = std::min(end, peak)};
}

void SlotSamples::clear() { *this = SlotSamples{}; }

Rollup::Rollup() : peaks_(kSlots, kMissing), p95s_(kSlots, kMissing) {}

bool Rollup::holds(Slot slot) const {
  return !is_empty() && slot <= newest_ &&
         slot > newest_ - static_cast<Slot>(kSlots);
}

void Rollup::shift_to(Slot slot) {
  const Slot oldest = slot - static_cast<Slot>(kSlots) + 1;
  for (Slot i = std::max(newest_ + 1, oldest); i <= slot; ++i) {
    const std::size_t place = place_of(i);
    known_ -= is_missing(peaks_[place]) ? 0 : 1;
    peaks_[place] = p95s_[place] = kMissing;
  }
  newest_ = slot;
}

void Rollup::put(Slot slot, SlotFigures figures) {
  assert(figures.peak >= 0 && figures.p95 >= 0);
  if (!is_time(slot)) return;
  if (is_empty()) {
    newest_ = slot;
  } else if (slot > newest_) {
    shift_to(slot);
  } else if (!holds(slot)) {
    return;
  }
  figures.peak = std::min(figures.peak, kMost);
  figures.p95 = std::min(figures.p95, kMost);
  const std::size_t place = place_of(slot);
  const SlotFigures before = at(slot);
  if (std::isnan(before.peak)) {
    ++known_;
  } else {
    figures.peak = std::max(figures.peak, before.peak);
    figures.p95 = std::max(figures.p95, before.p95);
  }
  peaks_[place] = halved(figures.peak);
  p95s_[place] = halved(figures.p95);
}

SlotFigures Rollup::at(Slot slot) const {
  if (!holds(slot)) return {};
  const std::size_t place = place_of(slot);
  return {.peak = widened(peaks_[place]), .p95 = widened(p95s_[place])};
}

std::vector<double> Rollup::p95s() const {
  std::vector<double> p95s;
  if (is_empty()) return p95s;
  p95s.reserve(kSlots);
  const Slot oldest = newest_ - static_cast<Slot>(kSlots) + 1;
  for (Slot slot = oldest; slot <= newest_; ++slot) {
    const double p95 = at(slot).p95;
    if (!p95s.empty() || !std::isnan(p95)) p95s.push_back(p95);
  }
  return p95s;
}

float Rollup::highest_peak() const {
  float highest = 0;
  for (const std::uint16_t half : peaks_) {
    if (!is_missing(half)) highest = std::max(highest, widened(half));
  }
  return highest;
}

std::vector<std::byte> Rollup::save() const {
  std::vector<std::byte> bytes;
  bytes.reserve(kBytes);
  for (const char c : kMagic) bytes.push_back(static_cast<std::byte>(c));
  append(kVersion, bytes);
  append(std::uint32_t{0}, bytes);  // the sum, once it is known
  append(static_cast<std::uint64_t>(newest_), bytes);
  for (const std::uint16_t half : peaks_) append(half, bytes);
  for (const std::uint16_t half : p95s_) append(half, bytes);
  std::vector<std::byte> sum;
  append(crc32c(std::span(bytes).subspan(kSummedAt)), sum);
  std::ranges::copy(sum, bytes.begin() + kCrcAt);
  return bytes;
}

Result<Rollup> Rollup::load(std::span<const std::byte> bytes) {
  const auto is_same = [](char c, std::byte byte) {
    return static_cast<std::byte>(c) == byte;
  };
  if (bytes.size() < kSummedAt ||
      !std::ranges::equal(kMagic, bytes.first(kMagic.size()), is_same)) {
    return fail(0, "this is no roll-up");
  }
  const auto version = value_at<std::uint32_t>(bytes, kMagic.size());
  if (version != kVersion) {
    return fail(ENOTSUP, "version " + std::to_string(version) + ", want " +
                             std::to_string(kVersion));
  }
  if (bytes.size() != kBytes || value_at<std::uint32_t>(bytes, kCrcAt) !=
                                    crc32c(bytes.subspan(kSummedAt))) {
    return fail(0, "damaged");
  }
  Rollup rollup;
  rollup.newest_ = static_cast<Slot>(value_at<std::uint64_t>(bytes, kSummedAt));
  if (!is_time(rollup.newest_)) return fail(0, "no such time");
  std::size_t at = kSummedAt + sizeof(std::uint64_t);
  for (auto* halves : {&rollup.peaks_, &rollup.p95s_}) {
    for (std::uint16_t& half : *halves) {
      half = value_at<std::uint16_t>(bytes, at);
      if (!is_figure(half)) return fail(0, "figures that cannot be");
      at += sizeof(half);
    }
  }
  for (std::size_t i = 0; i < kSlots; ++i) {
    if (is_missing(rollup.peaks_[i]) != is_missing(rollup.p95s_[i])) {
      return fail(0, "figures that cannot be");
    }
    rollup.known_ += is_missing(rollup.peaks_[i]) ? 0 : 1;
  }
  return rollup;
}

}  // namespace outrider
