// SPDX-License-Identifier: Apache-2.0
#include "agent/foresight_work.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <span>
#include <utility>

#include "agent/base/crc32c.h"

namespace outrider {
namespace {

constexpr Slot kSlotsAnHour = 3600 / kSlotSeconds;
constexpr Slot kSlotsADay = 24 * kSlotsAnHour;

// The distance that accuracy and coverage are of.
constexpr auto kHourAhead = static_cast<std::size_t>(kSlotsAnHour);
static_assert(kScoredAhead[1] == kHourAhead);

// A roll-up that is further ahead was written while the clock was wrong, or is
// held against one that is. After as many slots in a row it was the former.
constexpr Slot kAheadMost = kSlotsADay;
// A slot that all of a roll-up would be too old for is written after as many in
// a row: a clock that is fast for minutes costs no history.
constexpr Slot kBehindMost = static_cast<Slot>(Rollup::kSlots);
constexpr std::uint32_t kBehindSlots = 12;

std::optional<HorizonModelType> horizon_model(ModelType type) {
  switch (type) {
    case ModelType::kArima:
      return HorizonModelType::kArima;
    case ModelType::kProphet:
      return HorizonModelType::kProphetLike;
    case ModelType::kExponentialSmoothing:
      return HorizonModelType::kEts;
    case ModelType::kSeasonalNaive:
      return HorizonModelType::kSeasonalNaive;
    case ModelType::kLstm:
      break;
  }
  return std::nullopt;
}

/// Until it is run anew, the last slot of an Outlook comes an hour nearer.
OutlookOptions outlook_options(const PredictiveConfig& config) {
  const auto horizon = config.forecasting_horizon / std::chrono::seconds{1};
  const auto slots = (horizon + kSlotSeconds - 1) / kSlotSeconds + kSlotsAnHour;
  OutlookOptions options{.history_max = Rollup::kSlots,
                         .ahead_max = static_cast<std::size_t>(slots),
                         .models = {}};
  for (const ModelType type : config.model_types) {
    if (const auto model = horizon_model(type))
      options.models.push_back(*model);
  }
  return options;
}

/// After `slot`: once an hour, VMs spread over its slots.
Slot next_due(std::string_view uuid, Slot slot) {
  const std::uint32_t phase =
      crc32c(std::as_bytes(std::span(uuid.data(), uuid.size())));
  const Slot rest = (slot + phase) % kSlotsAnHour;
  return slot + kSlotsAnHour - rest;
}

/// 1 - WAPE: errors by what was demanded in all.
double accuracy_of(const HorizonScore& score) {
  if (score.count == 0) return 0;
  if (score.error == 0) return 1;
  return score.mean > 0 ? std::max(1 - score.error / score.mean, 0.0) : 0;
}

void put_scores(const Outlook& outlook, Prospect& prospect) {
  for (const HorizonScore& score : outlook.scores()) {
    if (score.ahead != kHourAhead) continue;
    if (score.chosen) prospect.model = score.model;
    if (std::string_view(score.model) != kChosen) continue;
    prospect.judged = score.judged;
    prospect.held = score.held;
    prospect.accuracy = accuracy_of(score);
  }
}

}  // namespace

ForesightWork::ForesightWork(const PredictiveConfig& config, RollupFiles files,
                             const std::atomic<bool>& is_stopping)
    : files_(std::move(files)),
      options_(outlook_options(config)),
      is_stopping_(is_stopping) {}

// What is due by a clock that was wrong may be years away, and what is old by
// one that is may have been written yesterday: until it has gone right for a
// day, nothing is.
void ForesightWork::follow_clock(Slot slot) {
  const bool was_set = slot < slot_ || slot > slot_ + kSlotsADay;
  if (!clean_due_ || was_set) clean_due_ = slot + kSlotsADay;
  if (slot < slot_) {
    for (auto& [uuid, here] : here_) here.due = std::min(here.due, slot);
  }
  slot_ = slot;
}

void ForesightWork::put(const SlotJob& job) {
  follow_clock(job.slot);
  std::map<std::string, Here, std::less<>> all;
  for (const SlotJob::Entry& entry : job.entries) {
    const auto known = here_.find(entry.uuid);
    Here& here = all[entry.uuid];
    here = known == here_.end() ? Here{.due = slot_} : known->second;
    if (!std::isnan(entry.figures.peak)) put(entry, here);
  }
  here_ = std::move(all);
  if (slot_ < *clean_due_) return;
  (void)files_.remove_old(slot_ * kSlotSeconds);  // what stays is no harm
  clean_due_ = slot_ + kSlotsADay;
}

bool ForesightWork::is_clock_doubtful(const Rollup& rollup, Here& here) const {
  const Slot ahead = rollup.is_empty() ? 0 : rollup.newest() - slot_;
  here.ahead = ahead > kAheadMost ? here.ahead + 1 : 0;
  here.behind = -ahead > kBehindMost ? here.behind + 1 : 0;
  return (here.ahead > 0 && here.ahead < kAheadMost) ||
         (here.behind > 0 && here.behind < kBehindSlots);
}

void ForesightWork::put(const SlotJob::Entry& entry, Here& here) {
  auto rollup = files_.read(entry.uuid);
  if (!rollup) {
    failure_ = rollup.error();
    // What is damaged is of no more use; what cannot be read now may be later,
    // and what is of another version is by the agent that wrote it.
    if (failure_->code != 0) return;
    rollup = Rollup{};
  }
  if (is_clock_doubtful(*rollup, here)) return;
  if (here.ahead > 0) rollup = Rollup{};
  rollup->put(slot_, entry.figures);
  auto written = files_.write(entry.uuid, *rollup);
  if (!written) failure_ = written.error();
}

// Where there is more to do than time, all wait alike.
bool ForesightWork::look(Prospect& prospect) {
  const auto due_of = [](const auto& each) { return each.second.due; };
  while (!here_.empty() && !is_stopping_.load(std::memory_order_relaxed)) {
    const auto next = std::ranges::min_element(here_, {}, due_of);
    auto& [uuid, here] = *next;
    if (here.due > slot_) break;
    here.due = next_due(uuid, slot_);
    if (look(uuid, prospect)) return true;
  }
  return false;
}

bool ForesightWork::look(const std::string& uuid, Prospect& prospect) {
  const auto rollup = files_.read(uuid);
  if (!rollup) {
    failure_ = rollup.error();
    return false;
  }
  Outlook outlook(options_);
  for (const double p95 : rollup->p95s()) {
    if (is_stopping_.load(std::memory_order_relaxed)) return false;
    outlook.observe(p95);
  }
  prospect.uuid = uuid;
  prospect.known = rollup->known();
  prospect.model = "";
  prospect.season = outlook.season();
  prospect.first = rollup->newest() + 1;
  prospect.upper.clear();
  // An interval may go beyond all that it was made of.
  const double most = rollup->highest_peak();
  for (std::size_t ahead = 1; ahead <= options_.ahead_max; ++ahead) {
    const auto interval = outlook.forecast(ahead);
    if (!interval) break;
    prospect.upper.push_back(
        static_cast<float>(std::min(interval->high, most)));
  }
  put_scores(outlook, prospect);
  if (prospect.upper.empty()) prospect.model = "";  // none was fitted
  return true;
}

}  // namespace outrider
