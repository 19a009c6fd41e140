// SPDX-License-Identifier: Apache-2.0
// The test is the wall clock, and the worker where it is not said otherwise.
#include "agent/foresight.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "tests/unit/shell/allocations.h"
#include "tests/unit/shell/foresight_past.h"
#include "tests/unit/shell/temporary_dir.h"

namespace outrider {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;

std::unique_ptr<Foresight> make(const PredictiveConfig& config) {
  auto made = Foresight::make(config);
  EXPECT_TRUE(made) << made.error().what;
  return *std::move(made);
}

/// All that there is to do, at that second of that slot.
void work(Foresight& foresight, Slot slot, std::int64_t second = 0) {
  do {
    foresight.turn(slot * kSlotSeconds + second);
  } while (foresight.work());
}

/// A slot of one VM from its start to just before its end.
void live(Foresight& foresight, Slot slot, const Load& load) {
  work(foresight, slot);
  foresight.add(kUuid, MilliCpus{load(slot) / 2});
  work(foresight, slot, 100);
  foresight.add(kUuid, MilliCpus{load(slot)});
  work(foresight, slot, 299);
}

/// What is foreseen in the first slot, after 13 days of `load`.
std::int64_t foreseen(const PredictiveConfig& config, const Load& load) {
  remember(config, load, 13 * kDay);
  const auto foresight = make(config);
  live(*foresight, kStart, load);
  return foresight->peak(kUuid).count();
}

TEST(Foresight, KeepsPeakAndP95OfEachSlot) {
  const TemporaryDir dir;
  const auto foresight = make(config_in(dir));
  live(*foresight, kStart, [](Slot) { return 400; });
  live(*foresight, kStart + 2, [](Slot) { return 800; });
  work(*foresight, kStart + 3);
  const auto rollup = files_of(config_in(dir)).read(kUuid);
  ASSERT_TRUE(rollup);
  EXPECT_EQ(rollup->at(kStart).peak, 400);
  EXPECT_EQ(rollup->at(kStart).p95, 400);  // of 200 and 400
  EXPECT_TRUE(std::isnan(rollup->at(kStart + 1).peak));
  EXPECT_EQ(rollup->at(kStart + 2).peak, 800);
}

// The top twentieth of forty samples are two.
TEST(Foresight, P95IsNotThePeak) {
  const TemporaryDir dir;
  const auto foresight = make(config_in(dir));
  work(*foresight, kStart);
  for (int i = 0; i < 39; ++i) foresight->add(kUuid, MilliCpus{200});
  foresight->add(kUuid, MilliCpus{400});
  work(*foresight, kStart + 1);
  const auto rollup = files_of(config_in(dir)).read(kUuid);
  ASSERT_TRUE(rollup);
  EXPECT_EQ(rollup->at(kStart).peak, 400);
  EXPECT_GE(rollup->at(kStart).p95, 200);
  EXPECT_LE(rollup->at(kStart).p95, 213);
}

TEST(Foresight, ADailyPeakIsForeseenALeadTimeAhead) {
  const TemporaryDir dir;
  remember(config_in(dir), daily, 13 * kDay);
  const auto foresight = make(config_in(dir));
  for (Slot slot = kStart; slot < kStart + 30; ++slot) {
    live(*foresight, slot, daily);
    const std::int64_t peak = foresight->peak(kUuid).count();
    // The lead time is one slot: it is known in the slot before.
    const bool is_near = slot >= kStart + 7 && slot < kStart + 20;
    EXPECT_GT(peak, is_near ? 1500 : 250) << slot - kStart;
    EXPECT_LT(peak, is_near ? 3000 : 1000) << slot - kStart;
  }
  const auto facts = foresight->facts(kUuid);
  ASSERT_TRUE(facts);
  EXPECT_EQ(facts->prospect.season, 288U);
  EXPECT_GE(facts->prospect.held, 0.85);
  EXPECT_TRUE(facts->is_believed);
  EXPECT_TRUE(facts->meets_target);
}

TEST(Foresight, LeadTimeSaysHowLongBefore) {
  for (const Slot lead : {0, 1, 6}) {
    const TemporaryDir dir;
    PredictiveConfig config = config_in(dir);
    config.lead_time = seconds{lead * kSlotSeconds};
    remember(config, daily, 13 * kDay);
    const auto foresight = make(config);
    for (Slot slot = kStart; slot < kStart + 10; ++slot) {
      live(*foresight, slot, daily);
      EXPECT_EQ(foresight->peak(kUuid) > MilliCpus{1200},
                slot >= kStart + 8 - lead)
          << slot - kStart << " " << lead;
    }
  }
}

// Of upper ends that are to hold nine times in ten.
TEST(Foresight, ForeseesNothingOfNoiseWithoutCoverage) {
  const TemporaryDir dir;
  PredictiveConfig config = config_in(dir);
  config.confidence_threshold = 0.97;
  EXPECT_EQ(foreseen(config, noise), 0);
  config.confidence_threshold = 0.8;
  EXPECT_GT(foreseen(config, noise), 1000);
}

TEST(Foresight, SaysNothingBeforeItHasSeenEnough) {
  const TemporaryDir dir;
  const PredictiveConfig config = config_in(dir);
  for (const Slot slots : {1, 30, 100, 300}) {
    remember(config, daily, slots);
    const auto foresight = make(config);
    work(*foresight, kStart);
    foresight->add(kUuid, MilliCpus{300});
    work(*foresight, kStart, 1);
    EXPECT_EQ(foresight->peak(kUuid), MilliCpus{}) << slots;
    const auto facts = foresight->facts(kUuid);
    ASSERT_TRUE(facts);
    EXPECT_EQ(facts->prospect.known, static_cast<std::size_t>(slots));
    EXPECT_FALSE(facts->is_believed);
  }
}

TEST(Foresight, LooksAsFarAsItsHorizon) {
  const TemporaryDir dir;
  PredictiveConfig config = config_in(dir);
  remember(config, daily, 2 * kDay);
  for (const auto& [horizon, slots] :
       {std::pair{minutes{60}, 12U}, std::pair{minutes{182}, 37U}}) {
    config.forecasting_horizon = horizon;
    const auto foresight = make(config);
    live(*foresight, kStart, daily);
    // And for the hour until it is looked at again.
    EXPECT_EQ(foresight->facts(kUuid)->prospect.upper.size(), slots + 12);
  }
}

TEST(Foresight, UsesTheListedModels) {
  const TemporaryDir dir;
  PredictiveConfig config = config_in(dir);
  remember(config, daily, 3 * kDay);
  for (const auto& [types, model] :
       {std::pair{std::vector{ModelType::kArima, ModelType::kLstm}, "arima"},
        std::pair{std::vector{ModelType::kProphet}, "prophet-like"},
        std::pair{std::vector{ModelType::kExponentialSmoothing}, "ets"},
        std::pair{std::vector{ModelType::kSeasonalNaive}, "seasonal-naive"}}) {
    config.model_types = types;
    const auto foresight = make(config);
    live(*foresight, kStart, daily);
    EXPECT_STREQ(foresight->facts(kUuid)->prospect.model, model);
  }
}

TEST(Foresight, SaysWhetherItsAccuracyIsAsAskedFor) {
  const TemporaryDir dir;
  PredictiveConfig config = config_in(dir);
  remember(config, noise, 3 * kDay);
  for (const double target : {0.5, 0.95}) {
    config.forecast_accuracy_target = target;
    const auto foresight = make(config);
    live(*foresight, kStart, noise);
    const auto facts = foresight->facts(kUuid);
    ASSERT_TRUE(facts);
    // The mean distance of a normal value from its mean is 0.8 deviations: 16
    // %.
    EXPECT_NEAR(facts->prospect.accuracy, 0.83, 0.06);
    EXPECT_EQ(facts->meets_target, target == 0.5);
  }
}

TEST(Foresight, IsThereWhereItIsEnabled) {
  const TemporaryDir dir;
  PredictiveConfig config = config_in(dir);
  config.enabled = false;
  EXPECT_EQ(start_foresight(config), nullptr);
  EXPECT_FALSE(std::filesystem::exists(config.directory));
  config.enabled = true;
  EXPECT_NE(start_foresight(config), nullptr);
  EXPECT_TRUE(std::filesystem::exists(config.directory));
  std::ofstream(dir.path() + "/file") << "no directory";
  config.directory = dir.path() + "/file";
  EXPECT_EQ(start_foresight(config), nullptr) << "it goes on without";
}

// What an agent saw of a slot before it ended, and the next one after.
TEST(Foresight, ARestartLosesNothing) {
  const TemporaryDir dir;
  for (const std::int64_t demand : {800, 200}) {
    const auto foresight = make(config_in(dir));
    work(*foresight, kStart);
    foresight->add(kUuid, MilliCpus{demand});
  }
  const auto rollup = files_of(config_in(dir)).read(kUuid);
  ASSERT_TRUE(rollup);
  EXPECT_EQ(rollup->known(), 1U);
  EXPECT_EQ(rollup->at(kStart).peak, 800);
}

TEST(Foresight, KeepsNoFileOfAVmWithoutAUuid) {
  const TemporaryDir dir;
  const auto foresight = make(config_in(dir));
  for (Slot slot = kStart; slot < kStart + 3; ++slot) {
    work(*foresight, slot);
    for (const char* name : {"", "web-1", "../../etc/passwd", "a.b"}) {
      EXPECT_EQ(foresight->add(name, MilliCpus{100}), MilliCpus{});
      EXPECT_EQ(foresight->peak(name), MilliCpus{});
    }
  }
  EXPECT_TRUE(std::filesystem::is_empty(dir.path() + "/rollups"));
}

TEST(Foresight, ForgetsAVmThatIsGone) {
  const TemporaryDir dir;
  const auto foresight = make(config_in(dir));
  live(*foresight, kStart, daily);
  EXPECT_TRUE(foresight->facts(kUuid));
  work(*foresight, kStart + 1);
  EXPECT_TRUE(foresight->facts(kUuid)) << "it was there in the slot before";
  work(*foresight, kStart + 2);
  EXPECT_FALSE(foresight->facts(kUuid));
}

TEST(Foresight, StartsAnewWhereAFileIsDamaged) {
  const TemporaryDir dir;
  const PredictiveConfig config = config_in(dir);
  remember(config, daily, kDay);
  std::filesystem::resize_file(config.directory + "/" + kUuid + ".rollup", 99);
  const auto foresight = make(config);
  live(*foresight, kStart, daily);
  work(*foresight, kStart + 1);
  const auto rollup = files_of(config).read(kUuid);
  ASSERT_TRUE(rollup) << rollup.error().what;
  EXPECT_EQ(rollup->known(), 1U);
}

TEST(Foresight, LivesWithoutItsDirectory) {
  const TemporaryDir dir;
  const PredictiveConfig config = config_in(dir);
  const auto foresight = make(config);
  std::filesystem::remove_all(config.directory);
  for (Slot slot = kStart; slot < kStart + 5; ++slot) {
    live(*foresight, slot, daily);
    EXPECT_EQ(foresight->peak(kUuid), MilliCpus{});
  }
}

TEST(Foresight, AWorkerThatIsLateCostsASlotAndNoMore) {
  const TemporaryDir dir;
  const auto foresight = make(config_in(dir));
  for (Slot slot = kStart; slot < kStart + 4; ++slot) {
    foresight->turn(slot * kSlotSeconds);
    foresight->add(kUuid, MilliCpus{100});
    if (slot != kStart + 1) work(*foresight, slot, 299);
  }
  work(*foresight, kStart + 4);
  const auto rollup = files_of(config_in(dir)).read(kUuid);
  ASSERT_TRUE(rollup);
  EXPECT_EQ(rollup->known(), 3U);
  EXPECT_TRUE(std::isnan(rollup->at(kStart + 1).peak));
}

// As one that has lost its battery, until the network tells it.
TEST(Foresight, AClockThatIsSlowCostsNothing) {
  const TemporaryDir dir;
  const PredictiveConfig config = config_in(dir);
  remember(config, daily, kDay);
  const auto foresight = make(config);
  for (const Slot slot : {Slot{0}, Slot{1}, kStart, kStart + 1}) {
    live(*foresight, slot, daily);
  }
  work(*foresight, kStart + 2);
  const auto rollup = files_of(config).read(kUuid);
  ASSERT_TRUE(rollup);
  EXPECT_EQ(rollup->newest(), kStart + 1);
  EXPECT_EQ(rollup->known(), static_cast<std::size_t>(kDay) + 2);
}

// Whether or not it has a worker, which then writes it.
TEST(Foresight, WritesThePresentSlotAsItEnds) {
  const TemporaryDir dir;
  const PredictiveConfig config = config_in(dir);
  {
    const auto foresight = start_foresight(config);
    ASSERT_NE(foresight, nullptr);
    foresight->turn(kStart * kSlotSeconds);
    foresight->add(kUuid, MilliCpus{300});
  }
  const auto rollup = files_of(config).read(kUuid);
  ASSERT_TRUE(rollup);
  EXPECT_EQ(rollup->at(kStart).peak, 300);
}

// An agent of later may be back tomorrow.
TEST(Foresight, LeavesAFileOfAnotherVersionAloneAndNamesIt) {
  const TemporaryDir dir;
  const PredictiveConfig config = config_in(dir);
  remember(config, daily, kDay);
  const std::string path = config.directory + "/" + kUuid + ".rollup";
  std::fstream(path, std::ios::in | std::ios::out).seekp(8).put(2);
  std::ifstream before(path);
  testing::internal::CaptureStderr();
  {
    const auto foresight = make(config);
    for (Slot slot = kStart; slot < kStart + 5; ++slot) {
      live(*foresight, slot, daily);
    }
  }
  const std::string log = testing::internal::GetCapturedStderr();
  const std::string named = std::string(kUuid) + ".rollup: version 2, want 1";
  EXPECT_NE(log.find(named), std::string::npos) << log;
  EXPECT_EQ(log.find(named), log.rfind(named)) << "once: " << log;
  std::ifstream after(path);
  EXPECT_TRUE(std::equal(std::istreambuf_iterator<char>(before), {},
                         std::istreambuf_iterator<char>(after), {}));
}

TEST(Foresight, AllocatesNothingForAVmThatIsKnown) {
  const TemporaryDir dir;
  const auto foresight = make(config_in(dir));
  for (Slot slot = kStart; slot < kStart + 14; ++slot) {
    live(*foresight, slot, daily);
  }
  const std::size_t before = allocations();
  for (int second = 0; second < 250; ++second) {
    foresight->turn((kStart + 14) * kSlotSeconds + second);
    (void)foresight->add(kUuid, MilliCpus{second});
  }
  EXPECT_EQ(allocations(), before);
}

// With a thread, as in the agent.
TEST(Foresight, AWorkerOfItsOwnDoesAllThat) {
  const TemporaryDir dir;
  const PredictiveConfig config = config_in(dir);
  remember(config, daily, 13 * kDay);
  const auto foresight = start_foresight(config);
  ASSERT_NE(foresight, nullptr);
  const auto end = std::chrono::steady_clock::now() + seconds{60};
  while (!foresight->facts(kUuid) && std::chrono::steady_clock::now() < end) {
    foresight->turn(kStart * kSlotSeconds);
    foresight->add(kUuid, MilliCpus{300});
    std::this_thread::sleep_for(std::chrono::milliseconds{1});
  }
  EXPECT_GT(foresight->peak(kUuid), MilliCpus{250});
}

}  // namespace
}  // namespace outrider
