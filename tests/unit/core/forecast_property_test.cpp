// SPDX-License-Identifier: Apache-2.0
// What holds of every forecast, whatever the series.
#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tests/unit/core/allocations.h"
#include "tests/unit/core/forecast_series.h"

namespace outrider {
namespace {

/// A series of all kinds of steps, rough and smooth, idle and wild.
class WildSeries {
 public:
  explicit WildSeries(std::uint64_t seed) : noise_(seed) {}

  Observation next() {
    if (left_ == 0) turn();
    --left_;
    level_ += drift_;
    const double value = level_ * (1 + spread_ * noise_.normal());
    Observation out = exact(std::clamp(value, 0.0, 64'000.0));
    const double kind = noise_.uniform();
    if (kind < 0.05) out.least = MilliCpus{out.value.count() / 3};
    if (kind > 0.95) out = {.value = MilliCpus{-7}, .missing = true};
    return out;
  }

 private:
  void turn() {
    left_ = 1 + static_cast<int>(300 * noise_.uniform());
    const double size = noise_.uniform();
    level_ = size < 0.2 ? 0 : 64'000 * size * size * size;
    drift_ = level_ * 0.01 * noise_.normal();
    spread_ = noise_.uniform();
  }

  Noise noise_;
  int left_ = 0;
  double level_ = 0;
  double drift_ = 0;
  double spread_ = 0;
};

std::vector<std::byte> state_of(const Forecaster& forecaster) {
  std::vector<std::byte> state(forecaster.state_bytes());
  forecaster.save(state);
  return state;
}

void expect_same(const Forecast& a, const Forecast& b) {
  EXPECT_EQ(a.peak, b.peak);
  EXPECT_EQ(a.coverage_permille, b.coverage_permille);
  EXPECT_EQ(a.scored, b.scored);
  EXPECT_EQ(a.expert, b.expert);
  EXPECT_EQ(a.season_steps, b.season_steps);
}

/// After `steps` of the series of `seed`.
std::unique_ptr<Forecaster> after(std::uint64_t seed, int steps) {
  std::unique_ptr<Forecaster> forecaster = make_forecaster(6);
  WildSeries series(seed);
  for (int i = 0; i < steps; ++i) {
    forecaster->observe(series.next());
    forecaster->ponder({});
  }
  return forecaster;
}

TEST(Forecaster, QuantilesRiseAndAreNeverNegative) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    SCOPED_TRACE(seed);
    const auto horizon = static_cast<std::uint32_t>(1 + seed % 10);
    const std::unique_ptr<Forecaster> forecaster = make_forecaster(horizon);
    WildSeries series(seed);
    for (int i = 0; i < 1500; ++i) {
      forecaster->observe(series.next());
      forecaster->ponder({});
      const Forecast& forecast = forecaster->forecast();
      MilliCpus before{0};
      for (const MilliCpus quantile : forecast.peak) {
        ASSERT_GE(quantile, before) << "step " << i;
        before = quantile;
      }
      for (const std::int16_t share : forecast.coverage_permille) {
        ASSERT_GE(share, 0);
        ASSERT_LE(share, 1000);
      }
      ASSERT_LE(forecast.peak.back().count(), 1'000'000) << "step " << i;
      ASSERT_STRNE(expert_name(forecast.expert), "?");
    }
  }
}

TEST(Forecaster, SameObservationsGiveTheSameBits) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    SCOPED_TRACE(seed);
    const std::unique_ptr<Forecaster> a = after(seed, 1500);
    const std::unique_ptr<Forecaster> b = after(seed, 1500);
    expect_same(a->forecast(), b->forecast());
    EXPECT_EQ(state_of(*a), state_of(*b));
  }
}

TEST(Forecaster, GoesOnFromASavedStateAsIfNothingHadBeen) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    SCOPED_TRACE(seed);
    const std::unique_ptr<Forecaster> a = after(seed, 1100);
    const std::unique_ptr<Forecaster> b = after(seed + 1000, 50);
    ASSERT_TRUE(b->load(state_of(*a)));
    expect_same(a->forecast(), b->forecast());
    WildSeries series(seed + 2000);
    for (int i = 0; i < 500; ++i) {
      const Observation now = series.next();
      a->observe(now);
      b->observe(now);
      a->ponder({});
      b->ponder({});
    }
    expect_same(a->forecast(), b->forecast());
    EXPECT_EQ(state_of(*a), state_of(*b));
  }
}

TEST(Forecaster, RefusesDamagedStateAndStaysAsItWas) {
  const std::vector<std::byte> good = state_of(*after(1, 700));
  const std::unique_ptr<Forecaster> forecaster = after(2, 700);
  const std::vector<std::byte> own = state_of(*forecaster);
  for (std::size_t i = 0; i < good.size(); ++i) {
    std::vector<std::byte> bad = good;
    bad[i] ^= std::byte{1};
    ASSERT_FALSE(forecaster->load(bad)) << "byte " << i;
  }
  std::vector<std::byte> cut(good.begin(), good.end() - 1);
  EXPECT_FALSE(forecaster->load(cut));
  EXPECT_FALSE(forecaster->load({}));
  EXPECT_EQ(state_of(*forecaster), own);
  EXPECT_TRUE(forecaster->load(good));
}

TEST(Forecaster, RefusesTheStateOfAnotherHorizon) {
  const std::unique_ptr<Forecaster> other = make_forecaster(5);
  EXPECT_FALSE(other->load(state_of(*after(1, 700))));
}

TEST(Forecaster, StateIsAtMostThreeKibibytes) {
  EXPECT_LE(make_forecaster(10)->state_bytes(), 3072U);
}

TEST(Forecaster, AllocatesNothingOnceItIsMade) {
  const std::unique_ptr<Forecaster> forecaster = make_forecaster(6);
  std::vector<std::byte> state(forecaster->state_bytes());
  WildSeries series(3);
  const std::size_t before = allocations();
  EXPECT_GT(before, 0U);  // the counter counts
  for (int i = 0; i < 20'000; ++i) {
    forecaster->observe(series.next());
    forecaster->ponder({});
  }
  forecaster->save(state);
  EXPECT_TRUE(forecaster->load(state));
  EXPECT_EQ(allocations(), before);
}

TEST(Forecaster, BeginsGenerously) {
  const std::unique_ptr<Forecaster> forecaster = make_forecaster(6);
  forecaster->observe(exact(1000));
  EXPECT_GE(forecaster->forecast().peak[0].count(), 1250);
  EXPECT_EQ(forecaster->forecast().scored, 0U);
}

TEST(Forecaster, ComesDownToASteadyDemand) {
  const std::unique_ptr<Forecaster> forecaster = make_forecaster(6);
  for (int i = 0; i < 1500; ++i) forecaster->observe(exact(1000));
  EXPECT_GE(forecaster->forecast().peak[kP950].count(), 1000);
  EXPECT_LE(forecaster->forecast().peak[kP950].count(), 1100);
}

TEST(Forecaster, MissingStepsHoldAndWidenAndAreNeverAZero) {
  const std::unique_ptr<Forecaster> forecaster = make_forecaster(6);
  for (const double value : noise_around(1000, 50, 2000, 1)) {
    forecaster->observe(exact(value));
  }
  const Forecast known = forecaster->forecast();
  Forecast before = known;
  for (int i = 0; i < 20; ++i) {
    forecaster->observe(missing());
    const Forecast& now = forecaster->forecast();
    for (std::size_t tau = 0; tau < kTaus; ++tau) {
      EXPECT_GT(now.peak[tau], before.peak[tau]) << "step " << i;
    }
    EXPECT_EQ(now.scored, known.scored);
    before = now;
  }
  // Bounded: by half and 50 milli-CPU, however long.
  for (int i = 0; i < 1000; ++i) {
    forecaster->observe(missing());
  }
  EXPECT_LE(peak(forecaster->forecast(), kP950),
            1.6 * peak(known, kP950) + 100);
  // And over with the first value.
  forecaster->observe(exact(1000));
  EXPECT_LE(peak(forecaster->forecast(), kP950), 1.1 * peak(known, kP950));
}

TEST(Forecaster, MissingFromTheStartIsNoFault) {
  const std::unique_ptr<Forecaster> forecaster = make_forecaster(6);
  for (int i = 0; i < 10; ++i) {
    forecaster->observe(missing());
  }
  forecaster->observe(exact(500));
  EXPECT_GE(forecaster->forecast().peak[0].count(), 600);
}

/// Of each 100 steps one is `spike`; the others are about 1000.
Forecast with_spikes(Observation spike) {
  const std::unique_ptr<Forecaster> forecaster = make_forecaster(6);
  const Values values = noise_around(1000, 30, 5090, 4);
  for (std::size_t t = 0; t < values.size(); ++t) {
    Observation now = exact(values[t]);
    if (t % 100 == 37) now = spike;
    forecaster->observe(now);
  }
  return forecaster->forecast();
}

TEST(Forecaster, TheExcessOfAnUpperBoundIsNotLearnedAsTruth) {
  const Forecast exactly = with_spikes(exact(8000));
  const Forecast bounded = with_spikes(at_most(8000));
  // 6 peaks of 100 are 8000: the p990 has to know, if they are true.
  EXPECT_GT(exactly.peak[4].count(), 4000);
  EXPECT_LT(bounded.peak[4].count(), 1500);
  EXPECT_GT(bounded.peak[4].count(), 1000);
}

TEST(Forecaster, UpperBoundsAloneHoldTheLevel) {
  const std::unique_ptr<Forecaster> forecaster = make_forecaster(6);
  for (int i = 0; i < 3000; ++i) {
    forecaster->observe(at_most(2000));
  }
  EXPECT_GE(forecaster->forecast().peak[kP950].count(), 1990);
  EXPECT_LE(forecaster->forecast().peak[kP950].count(), 2600);
}

TEST(ExpertName, KnowsItsOwnOnly) {
  EXPECT_EQ(std::string(expert_name(4)), "season");
  EXPECT_EQ(std::string(expert_name(5)), "?");
}

}  // namespace
}  // namespace outrider
