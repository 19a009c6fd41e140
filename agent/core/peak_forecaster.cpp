// SPDX-License-Identifier: Apache-2.0
#include "agent/core/peak_forecaster.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstring>
#include <type_traits>

#include "agent/base/crc32c.h"
#include "agent/base/prefetch.h"
#include "agent/core/forecast_experts.h"
#include "agent/core/residual_quantile.h"

namespace outrider {
namespace {

constexpr std::uint32_t kStateVersion = 3;
// In milli-CPU, of one step of one VM: 1,000 CPUs. More is a mistake.
constexpr std::int64_t kDemandMax = 1'000'000;
// What a first forecast adds to the last value: the larger of the two.
constexpr float kPriorShare = 0.25F;
constexpr float kPriorLeast = 100;  // milli-CPU
// A step that was missed widens by so much of the forecast and by so many
// milli-CPU, up to so many steps.
constexpr float kMissedShare = 0.02F;
constexpr float kMissedLeast = 2;
constexpr std::uint32_t kMissedMost = 25;
// Of the running error of an expert; one error counts as at most so many times
// the error so far, so that one burst does not make all steps coarse.
constexpr float kScaleGain = 0.02F;
constexpr float kScaleClip = 4;
constexpr float kScaleLeast = 1;  // milli-CPU
// Share that a loss keeps with each step: the rarer the quantile, the longer
// it takes to tell who is good at it.
constexpr Lanes kLossKept = {
    {{0.99F, 0.99F, 0.99F, 0.995F}, {0.998F, 0.999F, 0.999F, 0.999F}}};
// Where there is a season, whole periods of it count, at least so many: else
// who is right between two bursts would be followed into the next one.
constexpr float kPeriodsJudged = 3;
// Residuals are learned by what is known when the truth comes in, but a
// forecast is held to what was known a horizon before, and of the experts the
// luckiest is followed. Both miss more than is asked for, so the residuals aim
// at fewer misses, as many fewer as it takes (Gibbs and Candes 2021). Where
// they begin is what it took on noise; the gain is the relative change by one
// miss, times the share of misses asked for.
constexpr Lanes kAimFirst = {
    {{1.0F, 1.0F, 0.95F, 0.9F}, {0.65F, 0.4F, 0.4F, 0.4F}}};
constexpr Lanes kAimGain = {
    {{1e-3F, 1e-3F, 1e-3F, 5e-4F}, {3e-4F, 1e-4F, 1e-4F, 1e-4F}}};
constexpr float kAimLeast = 0.2F;  // of the misses asked for
constexpr float kAimMost = 1.25F;
// Of the coverage that is told: the last 500 forecasts, mostly.
constexpr float kCoverageGain = 0.002F;
constexpr std::size_t kTau950 = 3;
static_assert(kTausPermille[kTau950] == 950);

/// A forecast that waits for its truth.
struct Pending {
  Points points{};
  std::array<float, kTaus> peak{};
  std::uint32_t situation = 0;
};

/// One expert's record.
struct Standing {
  std::array<ResidualQuantiles, Experts::kSituations> residual{};
  Lanes loss;
};

/// All that is learned. Invariant: trivially copyable and without padding, its
/// bytes are the saved state.
struct State {
  Lanes coverage;
  Lanes aim;  // the share of misses that the residuals aim at
  std::array<Standing, kExperts> standing{};
  std::array<Pending, kHorizonMax> pending{};
  Experts experts;
  Points scale{};  // running error of each expert
  // By step, modulo the horizon: at most, and at least.
  std::array<float, kHorizonMax> recent{};
  std::array<float, kHorizonMax> recent_least{};
  std::uint32_t version = kStateVersion;
  std::uint32_t horizon = 0;
  std::uint32_t slot = 0;    // the next step's, below the horizon
  std::uint32_t values = 0;  // seen so far; stops above the horizon
  std::uint32_t missed = 0;  // steps since the last value
  std::uint32_t scored = 0;
  std::uint32_t missing = 0;   // of the last 32 steps, the newest in bit 0
  std::uint32_t unused = 0;    // fills up to the vectors' alignment
  std::uint32_t leader = 0;    // the expert that the p950 follows
  std::uint32_t seasonal = 0;  // a season was believed in at the last step
  std::uint32_t crc = 0;       // of all above, in a saved state
};
static_assert(std::is_trivially_copyable_v<State>);
static_assert(sizeof(State) == 2 * sizeof(Lanes) + kExperts * sizeof(Standing) +
                                   kHorizonMax * (sizeof(Pending) + 8) +
                                   sizeof(Experts) + sizeof(Points) + 11 * 4);
static_assert(sizeof(State) <= 3072);

constexpr std::array<const char*, kExperts> kExpertNames = {
    "last", "trailing", "ewma", "holt", "season"};

class PeakForecaster final : public Forecaster {
 public:
  explicit PeakForecaster(std::uint32_t horizon) {
    assert(horizon >= 1 && horizon <= kHorizonMax);
    s_.horizon = horizon;
    for (std::size_t i = 0; i < Lanes::kQuads; ++i) {
      s_.aim.quad[i] = kAimFirst.quad[i] * (1.0F - kTau.quad[i]);
    }
    refresh();
  }

  void observe(Observation now) override;
  void prefetch() const override;
  const Forecast& forecast() const override { return forecast_; }
  void ponder(LikelyPeriod likely) override {
    s_.experts.ponder(s_.horizon, likely);
  }
  std::size_t state_bytes() const override { return sizeof(State); }
  void save(std::span<std::byte> state) const override;
  bool load(std::span<const std::byte> state) override;

 private:
  static float figure(MilliCpus demand);
  void start(float demand);
  void note(float demand, float least, bool missing);
  PeakSeen peak_seen() const;
  void score(const Pending& past, PeakSeen seen);
  void learn(std::size_t expert, const Pending& past, PeakSeen seen,
             const Lanes& kept);
  Lanes loss_kept() const;
  void welcome_season();
  void predict();
  void refresh();

  State s_;
  Forecast forecast_;
};

void PeakForecaster::observe(Observation now) {
  const bool missing = now.missing;
  const float demand = figure(now.value);
  if (!missing && s_.values == 0) start(demand);
  if (missing) {
    note(s_.experts.last(), 0, true);
  } else {
    note(demand, std::min(figure(now.least), demand), false);
  }
  const std::uint32_t window = (1U << s_.horizon) - 1;
  const PeakSeen seen = peak_seen();
  if (s_.values > s_.horizon && (s_.missing & window) == 0) {
    score(s_.pending[s_.slot], seen);
  }
  if (missing) {
    s_.experts.skip();
  } else {
    s_.experts.observe(demand, seen.most);
  }
  predict();
  const std::uint32_t next_slot = s_.slot + 1 < s_.horizon ? s_.slot + 1 : 0;
  s_.slot = next_slot;
  refresh();
}

float PeakForecaster::figure(MilliCpus demand) {
  return static_cast<float>(
      std::clamp<std::int64_t>(demand.count(), 0, kDemandMax));
}

void PeakForecaster::prefetch() const {
  prefetch_lines(&s_.coverage, 2 * sizeof(Lanes) + sizeof(s_.standing));
  prefetch_lines(&s_.pending[s_.slot], sizeof(Pending));
  s_.experts.prefetch();
  prefetch_lines(&s_.scale, sizeof(State) - offsetof(State, scale));
  prefetch_lines(&forecast_, sizeof(forecast_));
}

/// The first value says how large errors may be.
void PeakForecaster::start(float demand) {
  const float prior = std::max(kPriorLeast, kPriorShare * demand);
  s_.experts.start(demand);
  s_.scale.fill(prior / 4);
  for (Standing& standing : s_.standing) {
    for (ResidualQuantiles& residual : standing.residual) {
      residual.above.fill(prior);
    }
  }
  s_.recent.fill(0);
}

void PeakForecaster::note(float demand, float least, bool missing) {
  s_.recent[s_.slot] = demand;
  s_.recent_least[s_.slot] = least;
  s_.missing = (s_.missing << 1) | (missing ? 1U : 0U);
  s_.missed = missing ? s_.missed + 1 : 0;
  if (!missing && s_.values <= s_.horizon) ++s_.values;
}

/// Of the last horizon.
PeakSeen PeakForecaster::peak_seen() const {
  PeakSeen seen;
  for (std::uint32_t i = 0; i < s_.horizon; ++i) {
    seen.most = std::max(seen.most, s_.recent[i]);
    seen.least = std::max(seen.least, s_.recent_least[i]);
  }
  return seen;
}

Lanes PeakForecaster::loss_kept() const {
  const float period = s_.experts.period();
  if (period <= 0) return kLossKept;
  const Quad least = Quad{} + (1.0F - 1.0F / (kPeriodsJudged * period));
  Lanes kept = kLossKept;
  for (Quad& quad : kept.quad) quad = quad < least ? least : quad;
  return kept;
}

void PeakForecaster::score(const Pending& past, PeakSeen seen) {
  const Lanes kept = loss_kept();
  for (std::size_t e = 0; e < kExperts; ++e) {
    learn(e, past, seen, kept);
  }
  ++s_.scored;
  const float gain =
      std::max(kCoverageGain, 1.0F / static_cast<float>(s_.scored));
  const Quad one = Quad{} + 1.0F;
  Lanes told;
  told.fill(past.peak.back());
  for (std::size_t i = 0; i < kTaus; ++i) told.set(i, past.peak[i]);
  const Quad most = Quad{} + seen.most;
  const Quad least = Quad{} + seen.least;
  for (std::size_t i = 0; i < Lanes::kQuads; ++i) {
    const Quad covered = most <= told.quad[i] ? one : Quad{};
    // Where the truth may lie on either side, nothing is to be learned.
    const Quad known = least > told.quad[i] ? one : covered;
    Quad& coverage = s_.coverage.quad[i];
    coverage += known * gain * (covered - coverage);
    const Quad asked = 1.0F - kTau.quad[i];
    const Quad push = known * kAimGain.quad[i] * (covered - kTau.quad[i]);
    const Quad aim = s_.aim.quad[i] * (1.0F + push / asked);
    const Quad lowest = kAimLeast * asked;
    const Quad highest = kAimMost * asked;
    const Quad raised = aim < lowest ? lowest : aim;
    s_.aim.quad[i] = raised > highest ? highest : raised;
  }
}

void PeakForecaster::learn(std::size_t expert, const Pending& past,
                           PeakSeen seen, const Lanes& kept) {
  Standing& standing = s_.standing[expert];
  ResidualQuantiles& residual = standing.residual[past.situation];
  const float point = past.points[expert];
  float& scale = s_.scale[expert];
  const Quad none{};
  for (std::size_t i = 0; i < Lanes::kQuads; ++i) {
    // The pinball loss: tau of what is missed, 1 - tau of what is too much; as
    // little as the truth allows, where it is known to lie in between.
    const Quad told = point + residual.above.quad[i];
    const Quad missed = kTau.quad[i] * (seen.least - told);
    const Quad spare = (1.0F - kTau.quad[i]) * (told - seen.most);
    const Quad loss = missed > spare ? missed : spare;
    standing.loss.quad[i] =
        kept.quad[i] * standing.loss.quad[i] + (loss > none ? loss : none);
  }
  const float error = std::max({seen.least - point, point - seen.most, 0.0F});
  scale +=
      kScaleGain * (std::min(error, kScaleClip * scale + kScaleLeast) - scale);
  residual.learn(point, seen, scale, s_.aim);
}

/// A season that was just found has no standing of its own yet: it begins as
/// good as the best, with no residual, and keeps that by being right.
void PeakForecaster::welcome_season() {
  Standing& season = s_.standing[static_cast<std::size_t>(Expert::kSeason)];
  for (ResidualQuantiles& residual : season.residual) residual.above.fill(0);
  for (const Standing& other : s_.standing) {
    for (std::size_t i = 0; i < Lanes::kQuads; ++i) {
      const Quad loss = other.loss.quad[i];
      Quad& own = season.loss.quad[i];
      own = loss < own ? loss : own;
    }
  }
}

void PeakForecaster::predict() {
  const bool seasonal = s_.experts.period() > 0;
  if (seasonal && s_.seasonal == 0) welcome_season();
  s_.seasonal = seasonal ? 1 : 0;
  Pending& next = s_.pending[s_.slot];
  next.points = s_.experts.points(s_.horizon);
  next.situation = static_cast<std::uint32_t>(s_.experts.situation());
  Lanes best;
  Lanes leader;
  for (std::size_t i = 0; i < Lanes::kQuads; ++i) {
    Quad least = s_.standing[0].loss.quad[i];
    for (std::size_t e = 0; e < kExperts; ++e) {
      const Standing& standing = s_.standing[e];
      const Quad peak =
          next.points[e] + standing.residual[next.situation].above.quad[i];
      const auto better = standing.loss.quad[i] <= least;
      best.quad[i] = better ? peak : best.quad[i];
      leader.quad[i] = better ? Quad{} + static_cast<float>(e) : leader.quad[i];
      least = better ? standing.loss.quad[i] : least;
    }
  }
  // Of the p950, which most classes hold.
  s_.leader = static_cast<std::uint32_t>(leader[kTau950]);
  const auto missed = static_cast<float>(std::min(s_.missed, kMissedMost));
  float floor = 0;
  for (std::size_t i = 0; i < kTaus; ++i) {
    floor = std::max(floor, best[i]);
    next.peak[i] = floor + missed * (kMissedShare * floor + kMissedLeast);
  }
}

/// The published form of the last forecast. Rounded up: a milli-CPU too much
/// harms nobody.
void PeakForecaster::refresh() {
  const std::size_t last = (s_.slot == 0 ? s_.horizon : s_.slot) - 1;
  for (std::size_t i = 0; i < kTaus; ++i) {
    forecast_.peak[i] =
        MilliCpus{static_cast<std::int64_t>(s_.pending[last].peak[i] + 0.999F)};
    forecast_.coverage_permille[i] =
        static_cast<std::int16_t>(1000 * s_.coverage[i] + 0.5F);
  }
  forecast_.scored = s_.scored;
  forecast_.season_steps =
      static_cast<std::uint16_t>(s_.experts.period() + 0.5F);
  forecast_.expert = static_cast<std::uint8_t>(s_.leader);
}

void PeakForecaster::save(std::span<std::byte> state) const {
  assert(state.size() == state_bytes());
  std::memcpy(state.data(), &s_, sizeof(State));
  const std::uint32_t crc = crc32c(state.first(offsetof(State, crc)));
  std::memcpy(&state[offsetof(State, crc)], &crc, sizeof(crc));
}

bool PeakForecaster::load(std::span<const std::byte> state) {
  if (state.size() != state_bytes()) return false;
  State loaded;
  std::memcpy(&loaded, state.data(), sizeof(State));
  if (loaded.crc != crc32c(state.first(offsetof(State, crc)))) return false;
  if (loaded.version != kStateVersion || loaded.horizon != s_.horizon) {
    return false;
  }
  s_ = loaded;
  s_.crc = 0;
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
