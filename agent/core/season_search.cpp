// SPDX-License-Identifier: Apache-2.0
#include "agent/core/season_search.h"

#include <emmintrin.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>

namespace outrider {
namespace {

// A season explains at least this share of the variance: less is of no use to
// a forecast.
constexpr float kLikenessMin = 0.3F;
// ... and is this many standard deviations from chance. More than the usual
// two: the best of 340 lags is looked at.
constexpr float kDeviationsMin = 3.0F;
// Of the mean's square: less is how steps are kept.
constexpr float kVarianceLeast = 4e-6F;
// Steps before anything is said: a few values are always like others.
constexpr std::size_t kHeldMin = 96;
// Steps to come before a search begins anew: of 1,024 that are looked at.
constexpr std::uint32_t kRest = 64;
// A multiple of the period is as like as the period itself; of the peaks that
// are nearly as high as the best, the first is the period.
constexpr float kNearlyBest = 0.9F;
// Of the likeness, what must be left at twice the lag. Phases that wander
// lose it.
constexpr float kLeftAtTwice = 0.7F;
// A season that is believed in is kept for less than it takes to be found.
constexpr float kKept = 0.8F;

__m128i load(const std::int16_t* from) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
}

std::uint32_t sum_of(__m128i lanes) {
  std::array<std::uint32_t, 4> each;
  std::memcpy(each.data(), &lanes, sizeof(each));
  return each[0] + each[1] + each[2] + each[3];
}

/// Shape: at most Season::kSteps of 0 .. Season::kWhole: 1,024 squares are
/// within 32 bits.
std::uint32_t squared_difference(const std::int16_t* a, const std::int16_t* b,
                                 std::size_t count) {
  __m128i squares = _mm_setzero_si128();
  std::size_t i = 0;
  for (; i + 8 <= count; i += 8) {
    const __m128i off = _mm_sub_epi16(load(a + i), load(b + i));
    squares = _mm_add_epi32(squares, _mm_madd_epi16(off, off));
  }
  std::uint32_t total = sum_of(squares);
  for (; i < count; ++i) {
    const std::int32_t off = a[i] - b[i];
    total += static_cast<std::uint32_t>(off * off);
  }
  return total;
}

/// 0 where it is not above what keeping steps as halves makes.
float variance_of(std::span<const std::int16_t> steps) {
  std::int64_t sum = 0;
  std::int64_t squares = 0;
  for (const std::int64_t step : steps) {
    sum += step;
    squares += step * step;
  }
  const auto count = static_cast<float>(steps.size());
  const float mean = static_cast<float>(sum) / count;
  const auto size = static_cast<std::int64_t>(steps.size());
  const float variance =
      static_cast<float>(size * squares - sum * sum) / (count * count);
  return variance > kVarianceLeast * mean * mean ? variance : 0;
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

/// Of what it takes.
float ease(const Season& season) { return season.period() > 0 ? kKept : 1; }

}  // namespace

void SeasonSearch::begin(const Season& season) {
  season.scaled(steps_);
  count_ = static_cast<std::uint32_t>(season.held());
  variance_ = variance_of(std::span(steps_).first(count_));
  next_lag_ = 1;
}

float SeasonSearch::likeness(std::size_t lag) const {
  if (variance_ <= 0 || lag >= count_) return 0;
  const std::size_t pairs = count_ - lag;
  const float difference = static_cast<float>(squared_difference(
                               steps_.data(), &steps_[lag], pairs)) /
                           static_cast<float>(pairs);
  return std::clamp(1 - difference / (2 * variance_), -1.0F, 1.0F);
}

bool SeasonSearch::ponder(Season& season, std::size_t lag_min,
                          LikelyPeriod likely) {
  if (season.held() < kHeldMin) return true;
  if (next_lag_ == 0) {
    if (season.since_decided() < kRest) return true;
    begin(season);
    return false;
  }
  // Up to a lag that has been seen three times, and one more for its slope.
  const auto end = static_cast<std::uint32_t>(
      std::min<std::size_t>(kLagMax + 1, count_ / 3) + 1);
  if (next_lag_ < end) {
    const auto stop = std::min<std::uint32_t>(end, next_lag_ + kLagsAtOnce);
    for (; next_lag_ < stop; ++next_lag_) {
      r_[next_lag_] = likeness(next_lag_);
    }
    return false;
  }
  season.believe(
      decide(season, std::clamp<std::size_t>(lag_min, 2, kLagMax), likely));
  next_lag_ = 0;
  return true;
}

/// The standard deviation of r where there is no season, at the longest lag,
/// which two thirds of the steps have a partner at. Its square is 1 / n for
/// white noise, and more the smoother a series is (Bartlett 1946), which the
/// main lobe tells.
float SeasonSearch::chance() const {
  float lobe = 1;
  for (std::size_t lag = 1; lag < next_lag_ && r(lag) > 0; ++lag) {
    lobe += 2 * r(lag) * r(lag);
  }
  const float pairs = static_cast<float>(count_) * 2 / 3;
  return std::sqrt(lobe / pairs);
}

bool SeasonSearch::is_peak(std::size_t lag) const {
  return r(lag) >= r(lag - 1) && r(lag) > r(lag + 1);
}

/// The period to the step, 0 if there is none.
std::size_t SeasonSearch::find_lag(std::size_t lag_min, float at_least) const {
  // Behind the main lobe: a smooth series is like itself a few steps ago.
  std::size_t first = 1;
  while (first + 1 < next_lag_ && r(first) > at_least / 2) ++first;
  first = std::max(first, lag_min);
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

float SeasonSearch::top_near(std::size_t lag) const {
  return static_cast<float>(lag) + parabola_top(r(lag - 1), r(lag), r(lag + 1));
}

/// To a fraction of a step, from the peak at twice the lag; 0 if there is none.
float SeasonSearch::refine(const Season& season, std::size_t lag) const {
  const float once = top_near(lag);
  std::array<float, 7> around{};  // twice the period, within three steps
  const std::size_t first = nearest(2 * once) - around.size() / 2;
  for (std::size_t i = 0; i < around.size(); ++i) {
    around[i] = likeness(first + i);
  }
  const std::size_t top = static_cast<std::size_t>(
      std::ranges::max_element(around.begin() + 1, around.end() - 1) -
      around.begin());
  if (around[top] < ease(season) * kLeftAtTwice * r(lag)) return 0;
  const float twice =
      static_cast<float>(first + top) +
      parabola_top(around[top - 1], around[top], around[top + 1]);
  return twice / 2;
}

/// The highest peak there, to a fraction of a step; 0 if there is none.
float SeasonSearch::best_of(LikelyPeriod likely, std::size_t lag_min,
                            float at_least) const {
  std::size_t best = 0;
  std::size_t lag = std::max<std::size_t>(likely.first, lag_min);
  for (; lag <= likely.last && lag + 1 < next_lag_; ++lag) {
    const bool is_better = best == 0 || r(lag) > r(best);
    if (is_peak(lag) && r(lag) >= at_least && is_better) best = lag;
  }
  return best == 0 ? 0 : top_near(best);
}

/// The period to believe in, 0 for none.
float SeasonSearch::decide(const Season& season, std::size_t lag_min,
                           LikelyPeriod likely) const {
  const float at_least =
      std::max(kLikenessMin, ease(season) * kDeviationsMin * chance());
  const std::size_t lag = find_lag(lag_min, at_least);
  const float period = lag == 0 ? 0 : refine(season, lag);
  // A longer memory would know of a longer one: this is a multiple of its own.
  const bool is_likely = period <= static_cast<float>(likely.last);
  if (period > 0 && (is_likely || likely.last == 0)) return period;
  const float helped =
      best_of(likely, lag_min, std::max(kLikenessMin, at_least / 2));
  return helped > 0 ? helped : period;
}

}  // namespace outrider
