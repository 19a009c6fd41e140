// SPDX-License-Identifier: Apache-2.0
// Demand series to forecast, in milli-CPU, the same on every machine.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include "agent/core/peak_forecaster.h"
#include "agent/core/season_search.h"

namespace outrider {

using Values = std::vector<double>;

inline constexpr std::size_t kP950 = 2;
inline constexpr std::size_t kP990 = 3;

/// About normal: what it is exactly does not matter, that it is the same with
/// every library does, so no std::normal_distribution.
class Noise {
 public:
  explicit Noise(std::uint64_t seed) : random_(seed) {}
  double uniform() {
    return static_cast<double>(random_() >> 11) / 9007199254740992.0;
  }
  double normal() {
    double sum = -6;
    for (int i = 0; i < 12; ++i) sum += uniform();
    return sum;
  }

 private:
  std::mt19937_64 random_;
};

inline Values noise_around(double level, double deviation, std::size_t steps,
                           std::uint64_t seed) {
  Noise noise(seed);
  Values values(steps);
  for (double& value : values) {
    value = std::max(0.0, level + deviation * noise.normal());
  }
  return values;
}

struct Bursts {
  double period = 100;  // steps from onset to onset
  double jitter = 0;    // of each such gap, as a share of it
  double share = 0.3;   // of the period, of a burst
  double height = 2000;
  double trough = 50;
  double noise = 0.05;  // of the value
};

inline Values bursts(const Bursts& shape, std::size_t steps,
                     std::uint64_t seed) {
  Noise noise(seed);
  Values values(steps, shape.trough);
  const double length = shape.share * shape.period;
  for (double onset = shape.period / 2; onset < static_cast<double>(steps);) {
    for (double at = std::ceil(onset);
         at < onset + length && at < static_cast<double>(steps); ++at) {
      values[static_cast<std::size_t>(at)] = shape.height;
    }
    const double off = shape.jitter * (2 * noise.uniform() - 1);
    onset += shape.period * (1 + off);
  }
  for (double& value : values) {
    value = std::max(0.0, value * (1 + shape.noise * noise.normal()));
  }
  return values;
}

inline Observation exact(double value) {
  const MilliCpus truth{static_cast<std::int64_t>(value)};
  return {.value = truth, .least = truth};
}
inline Observation at_most(std::int64_t value) {
  return {.value = MilliCpus{value}, .least = {}};
}
inline Observation missing() { return {.missing = true}; }

/// The peak of the `horizon` steps after each step that has so many.
inline Values peaks_after(const Values& values, std::size_t horizon) {
  Values peaks;
  for (std::size_t t = 0; t + horizon < values.size(); ++t) {
    const auto next = values.begin() + static_cast<std::ptrdiff_t>(t) + 1;
    peaks.push_back(
        *std::max_element(next, next + static_cast<std::ptrdiff_t>(horizon)));
  }
  return peaks;
}

/// The forecasts after each step; thought about once a step, as in the tick.
inline std::vector<Forecast> forecasts(const Values& values,
                                       std::uint32_t horizon) {
  const std::unique_ptr<Forecaster> forecaster = make_forecaster(horizon);
  SeasonSearch search;
  std::vector<Forecast> out;
  out.reserve(values.size());
  for (const double value : values) {
    forecaster->observe(exact(value));
    forecaster->ponder(search, {});
    out.push_back(forecaster->forecast());
  }
  return out;
}

inline double peak(const Forecast& forecast, std::size_t tau) {
  return static_cast<double>(forecast.peak[tau].count());
}

/// How often each quantile was missed, and how much of it was too much.
struct Score {
  std::array<double, kTaus> missed{};
  std::array<double, kTaus> spare{};
  double scored = 0;
  double demand = 0;

  double miss_rate(std::size_t tau) const { return missed[tau] / scored; }
  double spare_share(std::size_t tau) const { return spare[tau] / demand; }
};

inline void add_score(const Values& values, std::uint32_t horizon,
                      std::size_t skip, Score& score) {
  const std::vector<Forecast> told = forecasts(values, horizon);
  const Values truth = peaks_after(values, horizon);
  for (std::size_t t = skip; t < truth.size(); ++t) {
    ++score.scored;
    score.demand += truth[t];
    for (std::size_t i = 0; i < kTaus; ++i) {
      const double over = peak(told[t], i) - std::floor(truth[t]);
      score.missed[i] += over < 0 ? 1 : 0;
      score.spare[i] += std::max(over, 0.0);
    }
  }
}

}  // namespace outrider
