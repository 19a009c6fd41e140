// SPDX-License-Identifier: Apache-2.0
#include "agent/foresight.h"

#include <sched.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <utility>

#include "agent/blocked_signals.h"
#include "agent/log.h"

namespace outrider {
namespace {

// A day of forecasts, one an hour, that were held to what came: fewer may be
// right by chance.
constexpr std::size_t kJudgedMin = 24;

constexpr int kLowestPriority = 19;

}  // namespace

Result<std::unique_ptr<Foresight>> Foresight::make(
    const PredictiveConfig& config) {
  auto files = RollupFiles::open(config.directory);
  if (!files) return pass(files, "roll-ups");
  return std::unique_ptr<Foresight>(new Foresight(config, *std::move(files)));
}

Foresight::Foresight(const PredictiveConfig& config, RollupFiles files)
    : config_(config), work_(config, std::move(files), is_stopping_) {}

Result<> Foresight::start_worker() {
  wake_ = Fd{::eventfd(0, EFD_CLOEXEC)};
  if (!wake_) return fail(errno, "eventfd");
  const AllSignalsBlocked blocked;
  worker_ = std::thread([this] { run(); });
  return {};
}

// Files are the worker's to write even now: a real-time thread that is at it
// for too long is killed.
Foresight::~Foresight() {
  if (has_begun_) fill(last_job_);
  is_stopping_.store(true);
  if (!worker_.joinable()) {
    put_last();
    return;
  }
  // Now it is waited for.
  const pid_t worker = worker_tid_.load();
  if (worker > 0) (void)::setpriority(PRIO_PROCESS, worker, 0);
  wake();
  worker_.join();
}

// --- The loop's side --------------------------------------------------------

void Foresight::wake() {
  if (!wake_) return;
  const std::uint64_t one = 1;
  // An eventfd that has room takes it.
  (void)!::write(wake_.get(), &one, sizeof(one));
}

void Foresight::turn(std::int64_t unix_seconds) {
  take_prospect();
  const Slot now = slot_of(unix_seconds);
  if (has_begun_ && now != slot_) end_slot();
  if (!has_begun_ || now != slot_) begin_slot(now);
  if (some_came_ && !job_waits_.load(std::memory_order_acquire)) announce();
}

MilliCpus Foresight::add(std::string_view uuid, MilliCpus demand) {
  auto known = known_.find(uuid);
  if (known == known_.end()) {
    if (!RollupFiles::is_name(uuid)) return {};
    known = known_.emplace(uuid, Known{}).first;
    some_came_ = true;
  }
  known->second.samples.add(demand);
  return known->second.peak;
}

MilliCpus Foresight::peak(std::string_view uuid) const {
  const auto known = known_.find(uuid);
  return known == known_.end() ? MilliCpus{} : known->second.peak;
}

std::optional<OutlookFacts> Foresight::facts(std::string_view uuid) const {
  const auto known = known_.find(uuid);
  if (known == known_.end() || !known->second.prospect) return std::nullopt;
  const Prospect& prospect = *known->second.prospect;
  return OutlookFacts{
      .prospect = prospect,
      .peak = upper_end(prospect),
      .is_believed = is_believed(prospect),
      .meets_target = prospect.accuracy >= config_.forecast_accuracy_target};
}

bool Foresight::is_believed(const Prospect& prospect) const {
  return prospect.judged >= kJudgedMin &&
         prospect.held >= config_.confidence_threshold;
}

MilliCpus Foresight::upper_end(const Prospect& prospect) const {
  const auto lead = config_.lead_time / std::chrono::seconds{1};
  // Whenever it is in the present slot.
  const Slot last = slot_ + (lead + kSlotSeconds - 1) / kSlotSeconds;
  double most = 0;
  for (std::size_t i = 0; i < prospect.upper.size(); ++i) {
    const Slot slot = prospect.first + static_cast<Slot>(i);
    if (slot < slot_ || slot > last) continue;
    most = std::max(most, static_cast<double>(prospect.upper[i]));
  }
  return MilliCpus{static_cast<std::int64_t>(std::ceil(most))};
}

void Foresight::take_prospect() {
  if (!prospect_waits_.load(std::memory_order_acquire)) return;
  const auto known = known_.find(prospect_.uuid);
  if (known != known_.end()) {
    Known& vm = known->second;
    vm.prospect = prospect_;
    vm.peak = is_believed(prospect_) ? upper_end(prospect_) : MilliCpus{};
  }
  prospect_waits_.store(false, std::memory_order_release);
  wake();
}

void Foresight::fill_names(SlotJob& job) const {
  job.slot = slot_;
  job.entries.resize(known_.size());
  auto entry = job.entries.begin();
  for (const auto& [uuid, vm] : known_) {
    entry->uuid = uuid;
    entry->figures = {};
    ++entry;
  }
}

void Foresight::fill(SlotJob& job) const {
  fill_names(job);
  auto entry = job.entries.begin();
  for (const auto& [uuid, vm] : known_) {
    entry->figures = vm.samples.figures();
    ++entry;
  }
}

void Foresight::hand_over_job() {
  some_came_ = false;
  job_waits_.store(true, std::memory_order_release);
  wake();
}

void Foresight::end_slot() {
  // Who demanded nothing all along, not even nothing, is no longer here.
  std::erase_if(
      known_, [](const auto& each) { return each.second.samples.is_empty(); });
  if (job_waits_.load(std::memory_order_acquire)) {
    log_warning(
        "roll-ups what=\"the slot before is not written yet\" next=\"this one "
        "is left out\"");
  } else {
    tell_failure();
    fill(job_);
    hand_over_job();
  }
  for (auto& [uuid, vm] : known_) vm.samples.clear();
}

void Foresight::begin_slot(Slot slot) {
  slot_ = slot;
  has_begun_ = true;
  for (auto& [uuid, vm] : known_) {
    if (vm.prospect && is_believed(*vm.prospect)) {
      vm.peak = upper_end(*vm.prospect);
    }
  }
}

// What was learned of them before is looked at now, not at the slot's end.
void Foresight::announce() {
  fill_names(job_);
  hand_over_job();
}

// Once for a row of slots in which the same failed.
void Foresight::tell_failure() {
  if (failure_ && failure_->what != told_) {
    const int code = failure_->code;
    log_error("roll-ups directory={} what=\"{}\" error=\"{}\" next=\"{}\"",
              one_word(config_.directory), escaped(failure_->what),
              code == 0 ? "no roll-up" : std::strerror(code),
              code == 0 ? "it is begun anew" : "again each slot");
  }
  told_ = failure_ ? failure_->what : "";
  failure_.reset();
}

// --- The worker's side ------------------------------------------------------

// Nobody is left to hear of failures.
void Foresight::put_last() {
  if (job_waits_.load()) work_.put(job_);
  if (!last_job_.entries.empty()) work_.put(last_job_);
}

bool Foresight::work() {
  // Files first: looking takes longer, and can wait.
  if (job_waits_.load(std::memory_order_acquire)) {
    work_.put(job_);
    if (auto failed = work_.take_failure()) failure_ = std::move(failed);
    job_waits_.store(false, std::memory_order_release);
    return true;
  }
  if (prospect_waits_.load(std::memory_order_acquire)) return false;
  if (!work_.look(prospect_)) return false;
  prospect_waits_.store(true, std::memory_order_release);
  return true;
}

void Foresight::run() {
  // The loop's own priority is no matter of this.
  const sched_param ordinary{};
  (void)::sched_setscheduler(0, SCHED_OTHER, &ordinary);  // it is that already
  (void)::setpriority(PRIO_PROCESS, 0, kLowestPriority);  // as far as it may
  worker_tid_.store(::gettid());
  std::uint64_t calls = 0;
  while (!is_stopping_.load()) {
    if (!work()) (void)!::read(wake_.get(), &calls, sizeof(calls));
  }
  put_last();
}

std::unique_ptr<Foresight> start_foresight(const PredictiveConfig& config) {
  if (!config.enabled) return nullptr;
  if (std::ranges::count(config.model_types, ModelType::kLstm) > 0) {
    log_info("model_types what=\"there is no lstm\" next=\"the others\"");
  }
  auto made = Foresight::make(config);
  auto started = made ? (*made)->start_worker() : Result<>{};
  if (!made || !started) {
    const Error& error = made ? started.error() : made.error();
    log_error("{} error=\"{}\" next=\"nothing is foreseen\"",
              escaped(error.what), std::strerror(error.code));
    return nullptr;
  }
  return *std::move(made);
}

}  // namespace outrider
