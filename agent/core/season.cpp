// SPDX-License-Identifier: Apache-2.0
#include "agent/core/season.h"

#include <algorithm>
#include <cassert>
#include <cmath>

namespace outrider {
namespace {

// A season explains at least this share of the variance: less is of no use to
// a forecast.
constexpr float kLikenessMin = 0.3F;
// ... and is this many standard deviations from chance. More than the usual
// two: the best of 168 lags is looked at.
constexpr float kDeviationsMin = 3.0F;
// Steps before anything is said: a few values are always like others.
constexpr std::size_t kHeldMin = 96;
// Steps to come before a search begins anew: of 512 that are looked at.
constexpr std::uint32_t kRest = 64;
// A multiple of the period is as like as the period itself; of the peaks that
// are nearly as high as the best, the first is the period.
constexpr float kNearlyBest = 0.9F;
// Of the likeness, what must be left at twice the lag. Phases that wander
// lose it.
constexpr float kLeftAtTwice = 0.85F;
// A season that is believed in is kept for less than it takes to be found.
constexpr float kKept = 0.8F;

std::uint64_t squared_difference(const std::uint16_t* a, const std::uint16_t* b,
                                 std::size_t count) {
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const auto difference = static_cast<std::uint32_t>(a[i] - b[i]);
    total += difference * difference;  // of 16 bits: fits, whatever its sign
  }
  return total;
}

/// Where the parabola through three points, one step apart, has its top, from
/// the one in the middle.
float parabola_top(float before, float middle, float after) {
  const float bend = before - 2 * middle + after;
  return bend < 0 ? std::clamp(0.5F * (before - after) / bend, -0.5F, 0.5F) : 0;
}

std::size_t nearest(float steps) {
  return static_cast<std::size_t>(steps + 0.5F);
}

}  // namespace

void Season::push(std::uint16_t value) {
  std::uint16_t& place = ring_[count_ & kMask];
  sum_ += std::uint64_t{value} - place;
  squares_ += std::uint64_t{value} * value - std::uint64_t{place} * place;
  place = value;
  // The count may not run over into a short history, but keeps its phase.
  if (++count_ == 0) count_ = kSteps;
}

std::uint16_t Season::peak_between(std::size_t oldest,
                                   std::size_t newest) const {
  std::uint16_t peak = 0;
  for (std::size_t i = newest; i <= oldest; ++i) peak = std::max(peak, ago(i));
  return peak;
}

std::uint16_t Season::peak_ahead(std::size_t horizon) const {
  assert(period_ > 0);
  std::array<std::uint16_t, 3> peaks{};
  std::size_t found = 0;
  for (std::size_t k = 1; k <= peaks.size(); ++k) {
    const std::size_t shift = nearest(static_cast<float>(k) * period_);
    if (shift >= held()) break;
    const std::size_t newest = shift > horizon + 1 ? shift - horizon - 1 : 0;
    peaks[found++] = peak_between(shift, newest);
  }
  const auto [a, b, c] = peaks;
  if (found < peaks.size()) return std::max(a, b);
  return std::max(std::min(a, b), std::min(std::max(a, b), c));
}

/// r(lag), of the pairs that the ring holds.
float Season::likeness(std::size_t lag) const {
  const std::size_t held = this->held();
  const float mean = static_cast<float>(sum_) / static_cast<float>(held);
  const float variance =
      static_cast<float>(squares_) / static_cast<float>(held) - mean * mean;
  if (variance <= 0.5F || lag >= held) return 0;
  // The pairs in the order of the array: rows that end where either wraps.
  std::size_t old = (count_ - held) & kMask;
  std::uint64_t total = 0;
  for (std::size_t left = held - lag; left > 0;) {
    const std::size_t young = (old + lag) & kMask;
    const std::size_t row = std::min(left, kSteps - std::max(old, young));
    total += squared_difference(&ring_[old], &ring_[young], row);
    old = (old + row) & kMask;
    left -= row;
  }
  return 1 - static_cast<float>(total) /
                 (2 * variance * static_cast<float>(held - lag));
}

void Season::ponder(std::size_t lag_min, LikelyPeriod likely) {
  lag_min_ =
      static_cast<std::uint16_t>(std::clamp<std::size_t>(lag_min, 2, kLagMax));
  if (held() < kHeldMin) return;
  if (next_lag_ == 1 && decided_ > 0 && count_ - decided_ < kRest) return;
  // Up to a lag that has been seen three times, and one more for its slope.
  const std::size_t end = std::min(kLagMax + 1, held() / 3) + 1;
  if (next_lag_ >= end) {
    decide(likely);
    decided_ = count_;
    next_lag_ = 1;
    return;
  }
  const std::size_t stop = std::min<std::size_t>(end, next_lag_ + kLagsAtOnce);
  for (; next_lag_ < stop; ++next_lag_) {
    const float r = std::clamp(likeness(next_lag_), -1.0F, 1.0F);
    r_[next_lag_] = static_cast<std::int16_t>(kRUnit * r);
  }
}

/// The standard deviation of r where there is no season, at the longest lag,
/// which two thirds of the steps have a partner at. Its square is 1 / n for
/// white noise, and more the smoother a series is (Bartlett 1946), which the
/// main lobe tells.
float Season::chance() const {
  float lobe = 1;
  for (std::size_t lag = 1; lag < next_lag_ && r(lag) > 0; ++lag) {
    lobe += 2 * r(lag) * r(lag);
  }
  const float pairs = static_cast<float>(held()) * 2 / 3;
  return std::sqrt(lobe / pairs);
}

float Season::ease() const { return period_ > 0 ? kKept : 1; }

bool Season::is_peak(std::size_t lag) const {
  return r(lag) >= r(lag - 1) && r(lag) > r(lag + 1);
}

/// The period to the step, 0 if there is none.
std::size_t Season::find_lag(float at_least) const {
  // Behind the main lobe: a smooth series is like itself a few steps ago.
  std::size_t first = 1;
  while (first + 1 < next_lag_ && r(first) > at_least / 2) ++first;
  first = std::max<std::size_t>(first, lag_min_);
  float best = at_least;
  for (std::size_t lag = first; lag + 1 < next_lag_; ++lag) {
    if (is_peak(lag)) best = std::max(best, r(lag));
  }
  for (std::size_t lag = first; lag + 1 < next_lag_; ++lag) {
    if (is_peak(lag) && r(lag) > at_least && r(lag) >= best * kNearlyBest) {
      return lag;
    }
  }
  return 0;
}

float Season::top_near(std::size_t lag) const {
  return static_cast<float>(lag) + parabola_top(r(lag - 1), r(lag), r(lag + 1));
}

/// To a fraction of a step, from the peak at twice the lag; 0 if there is none.
float Season::refine(std::size_t lag) const {
  const float once = top_near(lag);
  std::array<float, 7> around{};  // twice the period, within three steps
  const std::size_t first = nearest(2 * once) - around.size() / 2;
  for (std::size_t i = 0; i < around.size(); ++i) {
    around[i] = likeness(first + i);
  }
  const std::size_t top = static_cast<std::size_t>(
      std::ranges::max_element(around.begin() + 1, around.end() - 1) -
      around.begin());
  if (around[top] < ease() * kLeftAtTwice * r(lag)) return 0;
  const float twice =
      static_cast<float>(first + top) +
      parabola_top(around[top - 1], around[top], around[top + 1]);
  return twice / 2;
}

/// The highest peak there, to a fraction of a step; 0 if there is none.
float Season::best_of(LikelyPeriod likely, float at_least) const {
  std::size_t best = 0;
  std::size_t lag = std::max<std::size_t>(likely.first, lag_min_);
  for (; lag <= likely.last && lag + 1 < next_lag_; ++lag) {
    const bool is_better = best == 0 || r(lag) > r(best);
    if (is_peak(lag) && r(lag) >= at_least && is_better) best = lag;
  }
  return best == 0 ? 0 : top_near(best);
}

void Season::decide(LikelyPeriod likely) {
  const float at_least =
      std::max(kLikenessMin, ease() * kDeviationsMin * chance());
  const std::size_t lag = find_lag(at_least);
  period_ = lag == 0 ? 0 : refine(lag);
  if (period_ > 0) return;
  period_ = best_of(likely, std::max(kLikenessMin, at_least / 2));
}

}  // namespace outrider
