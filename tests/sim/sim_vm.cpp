// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/sim_vm.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>

namespace outrider::sim {
namespace {

constexpr std::int64_t kUsPerMs = 1000;
constexpr std::int64_t kBacklogMaxMs = 1000;  // of its threads' work
constexpr std::int64_t kEdgeUsPerVcpu = 10'000;
constexpr std::int64_t kEdgePauseMs = 10;
constexpr std::int64_t kCertainShare = 50;  // 2 %, as VmDemand has it
constexpr std::int64_t kIdleWeight = 3;     // of SCHED_IDLE, for 1024
constexpr std::int64_t kLeastCap = 10;      // 1 ms of 100 ms

// Rounded to the nearest; 1 us in 1 ms is 1 milli-CPU.
std::int32_t to_milli(std::int64_t us, std::int64_t interval_ms) {
  return static_cast<std::int32_t>((2 * us + interval_ms) / (2 * interval_ms));
}

}  // namespace

SimVm::SimVm(VmId id, std::size_t spec_index, const SimVmSpec& spec,
             std::uint64_t seed)
    : id_(id),
      spec_index_(spec_index),
      vcpus_(spec.vcpus),
      emulator_permille_(spec.emulator_permille),
      period_offset_ms_(spec.period_offset_ms),
      trace_(spec.trace, seed),
      bandwidth_(spec.cap),
      vcpu_caps_(static_cast<std::size_t>(spec.vcpus), kNoCap.count()),
      weight_(spec.weight) {}

std::int64_t SimVm::threads() const {
  const std::int64_t needed = (trace_.peak() + kUsPerMs - 1) / kUsPerMs;
  return std::clamp<std::int64_t>(needed, 1, vcpus_);
}

// The vCPUs' own caps, as a rate: what is left of one is of no use to another.
std::int64_t SimVm::rate_us() const {
  std::int64_t vcpus_us = 0;
  for (const std::int64_t cap : vcpu_caps_) {
    vcpus_us += cap < 0 ? kUsPerMs : std::min(cap, kUsPerMs);
  }
  return vcpus_us + vcpus_ * emulator_permille_;
}

std::int64_t SimVm::arrive(std::int64_t now_ms, SimFigures& figures) {
  if (now_ms % SimBandwidth::kPeriodMs == period_offset_ms_) {
    bandwidth_.refill();
  }
  const std::int64_t width_us = threads() * per_vcpu_us();
  std::int64_t arrived = trace_.next() * per_vcpu_us() / kUsPerMs;
  if (trace_.is_hog()) {
    arrived =
        std::max<std::int64_t>(0, std::min(arrived, width_us) - backlog_us_);
  }
  backlog_us_ += arrived;
  const std::int64_t dropped =
      std::max<std::int64_t>(0, backlog_us_ - width_us * kBacklogMaxMs);
  backlog_us_ -= dropped;
  figures.arrived_us += arrived;
  figures.dropped_us += dropped;
  wanted_us_ = std::min(backlog_us_, width_us);
  allowed_us_ = std::min({wanted_us_, bandwidth_.left_us(), rate_us()});
  return allowed_us_;
}

void SimVm::serve(std::int64_t us, SimFigures& figures) {
  const std::int64_t waited = wanted_us_ - us;
  const std::int64_t throttled = wanted_us_ - allowed_us_;
  ran_us_ = us;
  backlog_us_ -= us;
  bandwidth_.spend(us);
  books_.run_us += us;
  books_.wait_us += waited;
  books_.throttled_us += throttled;
  books_.open_wait_us = backlog_us_ == 0 ? 0 : books_.open_wait_us + waited;

  const MilliCpus cap = bandwidth_.cap();
  figures.served_us += us;
  figures.backlog_us = backlog_us_;
  figures.stall_us += waited;
  figures.throttled_us += throttled;
  figures.stall_ms += waited > 0 ? 1 : 0;
  figures.throttled_ms += throttled > 0 ? 1 : 0;
  figures.held += cap == kNoCap ? vcpus_ * per_vcpu_us() : cap.count();
}

std::optional<Duration> SimVm::edge(std::int64_t now_ms) {
  if (bandwidth_.cap() == kNoCap || ran_us_ == 0) return std::nullopt;
  const std::int64_t running = (ran_us_ + per_vcpu_us() - 1) / per_vcpu_us();
  const std::int64_t near =
      std::min(running * kEdgeUsPerVcpu, bandwidth_.quota_us() / 2);
  if (bandwidth_.left_us() > near) {
    if (now_ms - edge_fired_at_ms_ >= kEdgePauseMs) edge_fired_ = false;
    return std::nullopt;
  }
  if (edge_fired_) return std::nullopt;
  edge_fired_ = true;
  edge_fired_at_ms_ = now_ms;
  return std::chrono::microseconds{bandwidth_.left_us()};
}

CpuInput SimVm::read(std::int64_t interval_ms) {
  const std::int64_t run = books_.run_us - read_.run_us;
  const std::int64_t wait = books_.wait_us - read_.wait_us;
  // The change of what ran and of the open busy period's wait.
  const std::int64_t wanted = run + books_.open_wait_us - read_.open_wait_us;
  const std::int64_t demand = std::max<std::int64_t>(0, wanted);
  const std::int64_t open_wait = std::min({books_.open_wait_us, wait, demand});
  const std::int64_t vcpu = demand * kUsPerMs / per_vcpu_us();
  CpuInput input{
      .vm = id_,
      .overcounted = to_milli(demand - wanted, interval_ms),
      .open_wait = to_milli(open_wait, interval_ms),
      .usage = to_milli(run, interval_ms),
      .wait = to_milli(wait, interval_ms),
      .throttled =
          to_milli(books_.throttled_us - read_.throttled_us, interval_ms),
      .upper_bound = open_wait * kCertainShare > interval_ms * kUsPerMs};
  input.demand[static_cast<std::size_t>(ThreadClass::kVcpu)] =
      to_milli(vcpu, interval_ms);
  input.demand[static_cast<std::size_t>(ThreadClass::kEmulator)] =
      to_milli(demand - vcpu, interval_ms);
  read_ = books_;
  return input;
}

int SimVm::write(Knob knob, std::uint16_t index, std::int64_t value) {
  switch (knob) {
    case Knob::kCpuMax:
      return bandwidth_.write_cap(MilliCpus{value});
    case Knob::kCpuMaxBurst:
      return bandwidth_.write_burst(value);
    case Knob::kVcpuMax:
      if (index >= vcpu_caps_.size()) return ENOENT;
      if (value != kNoCap.count() && value < kLeastCap) return EINVAL;
      vcpu_caps_[index] = value;
      return 0;
    case Knob::kCpuWeight:
      // The kernel refuses it of an idle group as well.
      if (value < 1 || value > 10'000 || idle_ == 1) return EINVAL;
      weight_ = value;
      return 0;
    case Knob::kCpuIdle:
      if (value != 0 && value != 1) return EINVAL;
      // Which also puts the weight back to its default.
      if (value == 0 && idle_ == 1) weight_ = 100;
      idle_ = value;
      return 0;
  }
  return EINVAL;
}

std::int64_t SimVm::value(Knob knob, std::uint16_t index) const {
  switch (knob) {
    case Knob::kCpuMax:
      return bandwidth_.cap().count();
    case Knob::kCpuMaxBurst:
      return bandwidth_.burst_us();
    case Knob::kVcpuMax:
      return index < vcpu_caps_.size() ? vcpu_caps_[index] : kNoCap.count();
    case Knob::kCpuWeight:
      return weight_;
    case Knob::kCpuIdle:
      return idle_;
  }
  return 0;
}

std::int64_t SimVm::weight() const {
  return idle_ == 1 ? kIdleWeight
                    : std::max<std::int64_t>(2, weight_ * 1024 / 100);
}

}  // namespace outrider::sim
