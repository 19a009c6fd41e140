// SPDX-License-Identifier: Apache-2.0
#include "bench/eval/outlooks.h"

#include <fmt/format.h>

#include <atomic>
#include <cmath>
#include <mutex>
#include <thread>
#include <vector>

#include "agent/horizon/outlook.h"

namespace outrider::bench {
namespace {

constexpr const char* kYardstick = "seasonal-naive";

/// Sums over the forecasts that came due.
struct Sums {
  double error = 0;
  double covered = 0;
  double count = 0;
};

struct Tally {
  std::map<std::size_t, std::map<std::string, Sums>> sums;
  double demand = 0;
  double ticks = 0;
};

void run_series(const eval::Series& series, Tally& tally, std::mutex& mutex) {
  Outlook outlook;
  double demand = 0;
  double ticks = 0;
  for (const double value : series.values) {
    outlook.observe(value);
    if (std::isnan(value)) continue;
    demand += value;
    ticks += 1;
  }
  const std::lock_guard lock{mutex};
  tally.demand += demand;
  tally.ticks += ticks;
  for (const HorizonScore& score : outlook.scores()) {
    Sums& sums = tally.sums[score.ahead][score.model];
    const auto count = static_cast<double>(score.count);
    sums.error += score.error * count;
    sums.covered += score.covered * count;
    sums.count += count;
  }
}

}  // namespace

OutlookScores run_outlooks(const eval::SeriesSet& set) {
  Tally tally;
  std::mutex mutex;
  std::atomic<std::size_t> next{0};
  const auto work = [&] {
    for (std::size_t i = next++; i < set.series.size(); i = next++) {
      run_series(set.series[i], tally, mutex);
    }
  };
  {
    std::vector<std::jthread> workers(
        std::max(1U, std::thread::hardware_concurrency()));
    for (std::jthread& worker : workers) worker = std::jthread{work};
  }
  OutlookScores scores;
  const double mean = tally.demand / std::max(tally.ticks, 1.0);
  for (const auto& [ahead, models] : tally.sums) {
    for (const auto& [model, sums] : models) {
      const double count = std::max(sums.count, 1.0);
      scores[ahead][model] = {.error = sums.error / count / mean,
                              .covered = sums.covered / count};
    }
  }
  return scores;
}

std::string outlook_table(const std::map<std::string, OutlookScores>& by_set,
                          std::size_t ahead) {
  std::vector<std::string> models;
  for (const auto& model : all_horizon_models())
    models.push_back(model->name());
  models.emplace_back(kCombined);
  models.emplace_back(kChosen);
  std::string text = "| set |";
  std::string rule = "|---|";
  for (const std::string& model : models) {
    text += " " + model + " |";
    rule += "---:|";
  }
  text += "\n" + rule + "\n";
  for (const auto& [set, scores] : by_set) {
    const auto& row = scores.at(ahead);
    text += "| " + set + " |";
    for (const std::string& model : models) {
      const OutlookScore& score = row.at(model);
      text += fmt::format(" {:.3f} ({:.0f}) |",
                          score.error / row.at(kYardstick).error,
                          100 * score.covered);
    }
    text += "\n";
  }
  return text;
}

std::string outlook_json(const std::map<std::string, OutlookScores>& by_set) {
  std::vector<std::string> sets;
  for (const auto& [set, scores] : by_set) {
    std::vector<std::string> distances;
    for (const auto& [ahead, row] : scores) {
      std::vector<std::string> models;
      for (const auto& [model, score] : row) {
        models.push_back(
            fmt::format("\"{}\":{{\"error\":{:.6g},\"covered\":{:.4f}}}", model,
                        score.error, score.covered));
      }
      distances.push_back(
          fmt::format("\"{}\":{{{}}}", ahead, fmt::join(models, ",")));
    }
    sets.push_back(
        fmt::format("\"{}\":{{{}}}", set, fmt::join(distances, ",")));
  }
  return fmt::format("{{{}}}\n", fmt::join(sets, ","));
}

}  // namespace outrider::bench
