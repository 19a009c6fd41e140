// SPDX-License-Identifier: Apache-2.0
#include "agent/core/peak_forecaster.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <vector>

#include "agent/base/crc32c.h"
#include "agent/base/prefetch.h"
#include "agent/core/peak_quantiles.h"

namespace outrider {
namespace {

constexpr std::uint32_t kStateVersion = 6;
// In milli-CPU, of one step of one VM: 1,000 CPUs. More is a mistake.
constexpr std::int64_t kDemandMax = 1'000'000;
constexpr float kToldMax = 2 * kDemandMax;
// What a first forecast adds to the last value: the larger of the two.
constexpr float kPriorShare = 0.3F;
constexpr float kPriorLeast = 100;  // milli-CPU
// A step that was missed widens by so much of the forecast and by so many
// milli-CPU, up to so many steps.
constexpr float kMissedShare = 0.02F;
constexpr float kMissedLeast = 2;
constexpr std::uint32_t kMissedMost = 25;
constexpr std::size_t kTau950 = 2;
static_assert(kTausPermille[kTau950] == 950);

static_assert(kExperts == kExpertsMax);
constexpr std::array<const char*, kExperts> kExpertNames = {
    "trailing", "ewma",   "holt",        "ar",
    "quantile", "season", "season-peak", "regression"};

const MixPlan& plan_of(std::uint32_t horizon) {
  static const std::vector<MixPlan> plans = [] {
    std::array<double, kTaus> taus{};
    std::ranges::transform(kTausPermille, taus.begin(), [](std::int64_t tau) {
      return static_cast<double>(tau) / 1000;
    });
    std::vector<MixPlan> all;
    for (std::uint32_t steps = 1; steps <= kHorizonMax; ++steps) {
      all.emplace_back(taus, steps);
    }
    return all;
  }();
  return plans[horizon - 1];
}

/// Ahead of a saved state. Invariant: without padding.
struct Header {
  std::uint32_t version = kStateVersion;
  std::uint32_t horizon = 0;
  std::uint32_t missed = 0;
  std::uint32_t crc = 0;  // of all of the state, with 0 in its place
};

class PeakForecaster final : public Forecaster {
 public:
  explicit PeakForecaster(std::uint32_t horizon)
      : horizon_(horizon), series_(plan_of(horizon), horizon) {
    refresh();
  }

  void observe(Observation now) override;
  void prefetch() const override {
    series_.prefetch();
    prefetch_lines(&forecast_, sizeof(forecast_));
  }
  const Forecast& forecast() const override { return forecast_; }
  ForecastScore score() const override;
  bool ponder(SeasonSearch& search, LikelyPeriod likely) override {
    return series_.ponder(search, likely);
  }
  std::size_t state_bytes() const override {
    return sizeof(Header) + series_.state_bytes();
  }
  void save(std::span<std::byte> state) const override;
  bool load(std::span<const std::byte> state) override;

 private:
  static float figure(MilliCpus demand);
  void refresh();

  std::uint32_t horizon_;
  std::uint32_t missed_ = 0;  // steps since the last value
  PeakQuantiles series_;
  Forecast forecast_;
};

void PeakForecaster::observe(Observation now) {
  if (now.missing) {
    series_.skip();
    missed_ = std::min(missed_ + 1, kMissedMost);
  } else {
    const float demand = figure(now.value);
    if (!series_.is_started()) {
      series_.start(demand, std::max(kPriorLeast, kPriorShare * demand));
    }
    series_.observe(
        {.most = demand, .least = std::min(figure(now.least), demand)});
    missed_ = 0;
  }
  refresh();
}

float PeakForecaster::figure(MilliCpus demand) {
  return static_cast<float>(
      std::clamp<std::int64_t>(demand.count(), 0, kDemandMax));
}

/// The published form of what is told. Rounded up: a milli-CPU too much harms
/// nobody.
void PeakForecaster::refresh() {
  const auto missed = static_cast<float>(missed_);
  const Quad told = series_.told();
  const Quad peak =
      told + missed * (kMissedShare * told + kMissedLeast) + 0.999F;
  const Quad bounded = lesser(greater(peak, Quad{}), quad_of(kToldMax));
  for (std::size_t i = 0; i < kTaus; ++i) {
    forecast_.peak[i] = MilliCpus{static_cast<std::int64_t>(bounded[i])};
  }
  forecast_.scored = series_.truth().scored();
  forecast_.season_steps = static_cast<std::uint16_t>(series_.period() + 0.5F);
}

ForecastScore PeakForecaster::score() const {
  ForecastScore score{
      .weights = series_.mix().weights(series_.grounds(), kTau950),
      .fallbacks = series_.mix().fallbacks()};
  const ForecastTruth& truth = series_.truth();
  for (std::size_t i = 0; i < kTaus; ++i) {
    score.quantiles[i] = {.covered = truth.covered()[i],
                          .spare = truth.spare()[i],
                          .loss = truth.loss()[i]};
  }
  return score;
}

void PeakForecaster::save(std::span<std::byte> state) const {
  assert(state.size() == state_bytes());
  Header header{.horizon = horizon_, .missed = missed_};
  std::memcpy(state.data(), &header, sizeof(header));
  series_.save(state.subspan(sizeof(header)));
  header.crc = crc32c(state);
  std::memcpy(state.data(), &header, sizeof(header));
}

bool PeakForecaster::load(std::span<const std::byte> state) {
  if (state.size() != state_bytes()) return false;
  Header header;
  std::memcpy(&header, state.data(), sizeof(header));
  Header bare = header;
  bare.crc = 0;
  const auto learned = state.subspan(sizeof(header));
  const std::uint32_t crc =
      crc32c(learned, crc32c(std::as_bytes(std::span(&bare, 1))));
  if (crc != header.crc) return false;
  if (header.version != kStateVersion || header.horizon != horizon_) {
    return false;
  }
  if (!series_.load(learned)) return false;
  missed_ = std::min(header.missed, kMissedMost);
  refresh();
  return true;
}

}  // namespace

std::unique_ptr<Forecaster> make_forecaster(std::uint32_t horizon_steps) {
  return std::make_unique<PeakForecaster>(horizon_steps);
}

const char* expert_name(std::uint8_t expert) {
  return expert < kExperts ? kExpertNames[expert] : "?";
}

}  // namespace outrider
