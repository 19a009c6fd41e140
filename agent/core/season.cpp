// SPDX-License-Identifier: Apache-2.0
#include "agent/core/season.h"

#include <algorithm>
#include <cassert>

#include "agent/base/half_float.h"
#include "agent/core/quad.h"

namespace outrider {
namespace {

// What is less is nothing.
constexpr float kTopLeast = 1e-18F;
// So many periods are asked what comes next.
constexpr std::size_t kPeriodsAsked = 4;

/// Of the first `count`: the middle one of three, the larger of two.
std::uint16_t middle(const std::array<std::uint16_t, 3>& values,
                     std::size_t count) {
  const auto [a, b, c] = values;
  if (count < values.size()) return std::max(a, b);
  return std::max(std::min(a, b), std::min(std::max(a, b), c));
}

// Halves that are not negative are in the order of what they stand for.
const std::uint16_t kHalfMost = halved(kFigureMost);

std::size_t nearest(float steps) {
  return static_cast<std::size_t>(steps + 0.5F);
}

}  // namespace

void Season::push(float value) {
  ring_[count_ & kMask] = halved(value);
  // The count may not run over into a short history, but keeps its phase.
  if (++count_ == 0) count_ = kSteps;
}

void Season::prefetch() const {
  __builtin_prefetch(&ring_[count_ & kMask], 1);
  __builtin_prefetch(&count_, 1);
  for (std::size_t k = 1; k <= kPeriodsAsked; ++k) {
    const auto back = nearest(static_cast<float>(k) * period_);
    __builtin_prefetch(&ring_[(count_ - back) & kMask]);
  }
}

PeriodsAgo Season::periods_ago(std::size_t horizon) const {
  assert(period_ > 0);
  float steps = 0;
  float peaks = 0;
  std::array<std::uint16_t, 3> now{};
  std::array<std::uint16_t, 3> next{};
  std::size_t found = 0;
  for (; found < kPeriodsAsked; ++found) {
    const std::size_t back = nearest(static_cast<float>(found + 1) * period_);
    if (back >= held()) break;
    const std::size_t last = back > horizon ? back - horizon : 0;
    std::uint16_t peak = 0;
    for (std::size_t i = last; i < back; ++i) peak = std::max(peak, ago(i));
    steps += widened(ago(back - 1));
    peaks += widened(peak);
    if (found == now.size()) continue;
    now[found] = std::max(ago(back), ago(back - 1));
    next[found] = std::max({peak, ago(back), ago(last > 0 ? last - 1 : 0)});
  }
  return {.mean_step = steps / static_cast<float>(found),
          .mean_next = peaks / static_cast<float>(found),
          .peak_now = widened(middle(now, found)),
          .peak_next = widened(middle(next, found))};
}

bool Season::is_sound() const {
  return std::ranges::all_of(
             ring_, [](std::uint16_t half) { return half <= kHalfMost; }) &&
         (period_ == 0 ||
          (period_ >= 1 && period_ < static_cast<float>(held()) - 1));
}

void Season::scaled(std::span<std::int16_t> steps) const {
  const std::size_t held = this->held();
  assert(steps.size() >= held);
  std::uint16_t highest = 0;
  for (std::size_t i = 0; i < held; ++i) {
    highest = std::max(highest, ring_[i]);
  }
  const float top = widened(highest);
  const float scale = top > kTopLeast ? static_cast<float>(kWhole) / top : 0;
  for (std::size_t i = 0; i < held; ++i) {
    const float step = widened(ago(held - 1 - i)) * scale + 0.5F;
    // Of a comparison that a value that is not a number would not pass.
    steps[i] = step > 0 ? static_cast<std::int16_t>(
                              std::min(step, static_cast<float>(kWhole)))
                        : std::int16_t{0};
  }
}

}  // namespace outrider
