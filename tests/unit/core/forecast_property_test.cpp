// SPDX-License-Identifier: Apache-2.0
// What holds of every forecast, whatever the series.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "agent/base/crc32c.h"
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
  EXPECT_EQ(a.scored, b.scored);
  EXPECT_EQ(a.season_steps, b.season_steps);
}

/// After `steps` of the series of `seed`.
std::unique_ptr<Forecaster> after(std::uint64_t seed, int steps) {
  std::unique_ptr<Forecaster> forecaster = make_forecaster(6);
  SeasonSearch search;
  WildSeries series(seed);
  for (int i = 0; i < steps; ++i) {
    forecaster->observe(series.next());
    forecaster->ponder(search, {});
  }
  return forecaster;
}

TEST(Forecaster, QuantilesRiseAndAreNeverNegative) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    SCOPED_TRACE(seed);
    const auto horizon = static_cast<std::uint32_t>(1 + seed % 10);
    const std::unique_ptr<Forecaster> forecaster = make_forecaster(horizon);
    SeasonSearch search;
    WildSeries series(seed);
    for (int i = 0; i < 1500; ++i) {
      forecaster->observe(series.next());
      forecaster->ponder(search, {});
      const Forecast& forecast = forecaster->forecast();
      MilliCpus before{0};
      for (const MilliCpus quantile : forecast.peak) {
        ASSERT_GE(quantile, before) << "step " << i;
        before = quantile;
      }
      for (const auto& quantile : forecaster->score().quantiles) {
        ASSERT_GE(quantile.covered, 0);
        ASSERT_LE(quantile.covered, 1);
        ASSERT_GE(quantile.loss, 0);
      }
      ASSERT_LE(forecast.peak.back().count(), 1'000'000) << "step " << i;
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
    SeasonSearch search_a;
    SeasonSearch search_b;
    WildSeries series(seed + 2000);
    for (int i = 0; i < 500; ++i) {
      const Observation now = series.next();
      a->observe(now);
      b->observe(now);
      a->ponder(search_a, {});
      b->ponder(search_b, {});
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

/// Sealed, as anybody can.
void seal(std::vector<std::byte>& state) {
  constexpr std::size_t kAt = 12;
  std::fill_n(state.begin() + kAt, 4, std::byte{0});
  const std::uint32_t crc = crc32c(state);
  std::memcpy(&state[kAt], &crc, sizeof(crc));
}

/// Of one that believes in a season.
std::vector<std::byte> seasonal_state() {
  const std::unique_ptr<Forecaster> forecaster = make_forecaster(6);
  SeasonSearch search;
  for (const double value : bursts({}, 1500, 2)) {
    forecaster->observe(exact(value));
    forecaster->ponder(search, {});
  }
  EXPECT_GT(forecaster->forecast().season_steps, 0);
  return state_of(*forecaster);
}

// Bytes from another host: whatever is taken is a forecaster.
TEST(Forecaster, AForgedStateIsRefusedOrComesToNoHarm) {
  const std::vector<std::byte> seasonal = seasonal_state();
  std::mt19937 random{3};
  constexpr std::array<std::uint32_t, 8> kBad = {
      0x7FC00000, 0x7F800000, 0xFF800000, 0xFFFFFFFF,
      0x7F7FFFFF, 0x80000001, 0x10000000, 0x5D5E0B6B};
  int taken = 0;
  for (int i = 0; i < 8000; ++i) {
    std::vector<std::byte> state =
        i % 2 == 0 ? state_of(*after(1, 40 + i % 3)) : seasonal;
    const std::size_t at = 16 + 4 * (random() % ((state.size() - 16) / 4));
    std::memcpy(&state[at], &kBad[random() % kBad.size()], 4);
    seal(state);
    const std::unique_ptr<Forecaster> forecaster = after(2, 5);
    if (!forecaster->load(state)) continue;
    ++taken;
    SeasonSearch search;
    WildSeries series(4);
    for (int step = 0; step < 40; ++step) {
      forecaster->observe(series.next());
      forecaster->ponder(search, {});
      MilliCpus before{0};
      for (const MilliCpus peak : forecaster->forecast().peak) {
        ASSERT_GE(peak, before) << at;
        ASSERT_LE(peak.count(), 2'000'000) << at;
        before = peak;
      }
    }
  }
  EXPECT_GT(taken, 100);
  EXPECT_LT(taken, 7800);
}

TEST(Forecaster, RefusesTheStateOfAnotherHorizon) {
  const std::unique_ptr<Forecaster> other = make_forecaster(5);
  EXPECT_FALSE(other->load(state_of(*after(1, 700))));
}

TEST(Forecaster, StateIsAtMostFourKibibytes) {
  EXPECT_LE(make_forecaster(10)->state_bytes(), 4096U);
}

TEST(Forecaster, AllocatesNothingOnceItIsMade) {
  const std::unique_ptr<Forecaster> forecaster = make_forecaster(6);
  std::vector<std::byte> state(forecaster->state_bytes());
  SeasonSearch search;
  WildSeries series(3);
  const std::size_t before = allocations();
  EXPECT_GT(before, 0U);  // the counter counts
  for (int i = 0; i < 20'000; ++i) {
    forecaster->observe(series.next());
    forecaster->ponder(search, {});
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
  EXPECT_GT(exactly.peak[kP990].count(), 4000);
  EXPECT_LT(bounded.peak[kP990].count(), 1500);
  EXPECT_GT(bounded.peak[kP990].count(), 1000);
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
  EXPECT_EQ(std::string(expert_name(7)), "regression");
  EXPECT_EQ(std::string(expert_name(8)), "?");
}

}  // namespace
}  // namespace outrider
