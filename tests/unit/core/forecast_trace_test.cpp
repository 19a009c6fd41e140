// SPDX-License-Identifier: Apache-2.0
// Four real programs, recorded every 10 ms for 300 s: misses, and what is held
// too much, against a percentile of the last 60 peaks.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "tests/unit/core/forecast_series.h"

namespace outrider {
namespace {

constexpr std::size_t kPrograms = 4;
constexpr std::size_t kWindow = 60;
constexpr std::size_t kSkip = 300;  // steps, until either is warm

struct ClosePipe {
  void operator()(std::FILE* pipe) const { ::pclose(pipe); }
};

std::filesystem::path recording() {
  const char* root = std::getenv("OUTRIDER_TRACES");
  const std::filesystem::path folder =
      root != nullptr ? std::filesystem::path(root)
                      : std::filesystem::path(OUTRIDER_SOURCE_DIR) / ".." /
                            "shared" / "traces";
  return folder / "first-party-10ms" / "runA.csv.gz";
}

struct Row {
  double at_us = 0;
  std::array<double, kPrograms> cpu_us{};  // since the row before
};

std::vector<Row> read_rows(const std::filesystem::path& file) {
  const std::string command = "gzip -dc '" + file.string() + "'";
  const std::unique_ptr<std::FILE, ClosePipe> pipe(
      ::popen(command.c_str(), "r"));
  std::vector<Row> rows;
  std::array<char, 256> line{};
  std::fgets(line.data(), line.size(), pipe.get());  // the names of columns
  while (std::fgets(line.data(), line.size(), pipe.get()) != nullptr) {
    Row row;
    char* at = line.data();
    row.at_us = std::strtod(at, &at);
    for (double& cpu : row.cpu_us) {
      cpu = std::strtod(at + 1, &at);
      std::strtod(at + 1, &at);  // its memory
    }
    rows.push_back(row);
  }
  return rows;
}

/// Milli-CPU on an even clock: the sampler was late at times, so what was used
/// is taken to have been used evenly since the row before.
Values on_clock(const std::vector<Row>& rows, std::size_t program,
                double step_us) {
  Values values;
  double before_us = 0;
  double used = 0;
  double told = 0;
  double next_us = step_us;
  for (const Row& row : rows) {
    const double rate = row.cpu_us[program] / (row.at_us - before_us);
    for (; row.at_us >= next_us; next_us += step_us) {
      const double by_then = used + rate * (next_us - before_us);
      values.push_back((by_then - told) * 1000 / step_us);
      told = by_then;
    }
    used += row.cpu_us[program];
    before_us = row.at_us;
  }
  return values;
}

/// The last `kWindow` peaks before each step, sorted, and the truth.
struct Windows {
  std::vector<std::array<double, kWindow>> peaks;
  Values truth;
};

void add_windows(const Values& values, std::size_t horizon, Windows& windows) {
  const Values after = peaks_after(values, horizon);
  for (std::size_t t = kSkip; t < after.size(); ++t) {
    std::array<double, kWindow> window{};
    // after[s - horizon] is the peak of the horizon that ends with step s.
    std::copy_n(
        after.begin() + static_cast<std::ptrdiff_t>(t - horizon - kWindow + 1),
        kWindow, window.begin());
    std::sort(window.begin(), window.end());
    windows.peaks.push_back(window);
    windows.truth.push_back(after[t]);
  }
}

struct Cut {
  double miss_rate = 0;
  double spare_share = 0;
};

/// The percentile `knob` of the window; above 1, its largest times `knob`.
Cut cut(const Windows& windows, double knob) {
  double missed = 0;
  double spare = 0;
  double demand = 0;
  for (std::size_t t = 0; t < windows.truth.size(); ++t) {
    const auto& window = windows.peaks[t];
    const double rank = std::min(knob, 1.0) * (kWindow - 1);
    const auto below = static_cast<std::size_t>(rank);
    const std::size_t above = std::min(below + 1, kWindow - 1);
    const double part = rank - static_cast<double>(below);
    const double held =
        (window[below] + part * (window[above] - window[below])) *
        std::max(knob, 1.0);
    const double over = held - windows.truth[t];
    missed += over < 0 ? 1 : 0;
    spare += std::max(over, 0.0);
    demand += windows.truth[t];
  }
  return {missed / static_cast<double>(windows.truth.size()), spare / demand};
}

/// With the knob at which it misses as often as `miss_rate`.
Cut cut_at(const Windows& windows, double miss_rate) {
  double low = 0;
  double high = 8;
  for (int i = 0; i < 20; ++i) {
    const double knob = (low + high) / 2;
    (cut(windows, knob).miss_rate > miss_rate ? low : high) = knob;
  }
  return cut(windows, high);
}

struct Clock {
  double step_us;
  std::uint32_t horizon;
};

class ForecastOfTrace : public testing::TestWithParam<Clock> {};
INSTANTIATE_TEST_SUITE_P(FirstParty, ForecastOfTrace,
                         testing::Values(Clock{20'000, 6}, Clock{100'000, 5}),
                         [](const auto& instance) {
                           const double ms = instance.param.step_us / 1000;
                           return std::to_string(static_cast<int>(ms)) + "ms";
                         });

TEST_P(ForecastOfTrace, HoldsNoMoreThanAWindowAtEqualMisses) {
  const std::filesystem::path file = recording();
  if (!std::filesystem::exists(file)) {
    GTEST_SKIP() << file << " is not here; set OUTRIDER_TRACES";
  }
  const std::vector<Row> rows = read_rows(file);
  ASSERT_GT(rows.size(), 20'000U);
  const auto [step_us, horizon] = GetParam();
  Score score;
  Windows windows;
  for (std::size_t program = 0; program < kPrograms; ++program) {
    const Values values = on_clock(rows, program, step_us);
    add_score(values, horizon, kSkip, score);
    add_windows(values, horizon, windows);
  }
  for (std::size_t i = 1; i < kTaus; ++i) {
    const Cut window = cut_at(windows, score.miss_rate(i));
    std::printf(
        "p%lld: missed %.2f %%, held %.0f %% too much; window %.0f %%\n",
        static_cast<long long>(kTausPermille[i]), 100 * score.miss_rate(i),
        100 * score.spare_share(i), 100 * window.spare_share);
    EXPECT_LE(score.spare_share(i), window.spare_share);
  }
  EXPECT_LE(score.miss_rate(kP950), 0.08);
  EXPECT_GE(score.miss_rate(kP950), 0.02);
}

}  // namespace
}  // namespace outrider
