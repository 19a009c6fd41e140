// SPDX-License-Identifier: Apache-2.0
#include "agent/core/demand.h"

#include <algorithm>
#include <cassert>
#include <limits>
#include <tuple>

namespace outrider {
namespace {

// A thread is an upper bound above interval / 50 of open wait: 2 %.
constexpr std::int64_t kCertainShare = 50;

// The part in flight is reckoned with one clock pair a tick, so a counter may
// step back by the pair's error. A sensor that starts anew steps back further.
constexpr std::int64_t kJitterNs = 1'000'000;

// A sensor on files reads its thousandth VM this much after the first; more
// than that beyond 1.5 intervals is no clock's error.
constexpr std::int64_t kLateNs = 20'000'000;

// Bounds each term of a sum of three, so that none overflows. 73 years.
constexpr std::int64_t kTermMaxNs = std::int64_t{1} << 61;

/// One VM of a Sample, and what belongs to its i-th thread.
struct VmView {
  const Sample& sample;
  const VmSample& vm;

  const ThreadSample& thread(std::uint32_t i) const {
    return sample.threads[std::size_t{vm.first_thread} + i];
  }
  VcpuSample vcpu(std::uint32_t i) const {
    if (i >= vm.vcpu_count) return {};
    return sample.vcpus[std::size_t{vm.first_vcpu} + i];
  }
};

/// Nanoseconds within the interval; none is negative.
struct Tally {
  std::uint64_t demand = 0;
  std::uint64_t open_wait = 0;
  std::uint64_t run = 0;
  std::uint64_t halt_poll = 0;
  std::uint64_t wait = 0;
  std::uint64_t overcounted = 0;
};

/// Differences of the cumulative figures; small steps back are possible.
struct Step {
  std::int64_t run = 0;
  std::int64_t wait = 0;
  std::int64_t halt_poll = 0;
};

std::uint64_t saturated_sum(std::uint64_t a, std::uint64_t b) {
  const std::uint64_t sum = a + b;
  return sum < a ? std::numeric_limits<std::uint64_t>::max() : sum;
}

void add(Tally& sum, const Tally& more) {
  sum.demand = saturated_sum(sum.demand, more.demand);
  sum.open_wait = saturated_sum(sum.open_wait, more.open_wait);
  sum.run = saturated_sum(sum.run, more.run);
  sum.halt_poll = saturated_sum(sum.halt_poll, more.halt_poll);
  sum.wait = saturated_sum(sum.wait, more.wait);
  sum.overcounted = saturated_sum(sum.overcounted, more.overcounted);
}

void add(ClassDemand& sum, const ClassDemand& more) {
  sum.demand += more.demand;
  sum.open_wait += more.open_wait;
  sum.usage += more.usage;
  sum.halt_poll += more.halt_poll;
  sum.wait += more.wait;
  sum.overcounted += more.overcounted;
  sum.runnable += more.runnable;
}

/// Time per time in thousandths, to the nearest; saturates. `interval` > 0.
MilliCpus to_milli(std::uint64_t ns, std::int64_t interval) {
  constexpr std::uint64_t kExact = std::uint64_t{1} << 53;  // times 1000 fits
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max() / 8;
  if (ns == 0) return {};  // most figures are; a division is dear
  auto span = static_cast<std::uint64_t>(interval);
  if (ns <= kExact && span <= kExact) {
    return MilliCpus{static_cast<std::int64_t>((ns * 1000 + span / 2) / span)};
  }
  while (span > kExact) {
    span >>= 1;
    ns >>= 1;
  }
  const std::uint64_t whole = ns / span;
  if (whole >= kMost / 1000) return MilliCpus{kMost};
  const std::uint64_t part = ((ns % span) * 1000 + span / 2) / span;
  return MilliCpus{static_cast<std::int64_t>(whole * 1000 + part)};
}

ClassDemand to_class_demand(const Tally& tally, std::int64_t interval) {
  return {.demand = to_milli(tally.demand, interval),
          .open_wait = to_milli(tally.open_wait, interval),
          .usage = to_milli(tally.run, interval),
          .halt_poll = to_milli(tally.halt_poll, interval),
          .wait = to_milli(tally.wait, interval),
          .overcounted = to_milli(tally.overcounted, interval),
          .runnable = to_milli(saturated_sum(tally.run, tally.wait), interval)};
}

bool busy(const ThreadSample& thread) {
  return thread.state == ThreadState::kWaiting ||
         thread.state == ThreadState::kRunning;
}

/// Open wait is part of all wait; what says otherwise is not believed.
std::uint64_t open_wait_of(const ThreadSample& thread) {
  return busy(thread) ? std::min(thread.open_wait_ns, thread.wait_ns) : 0;
}

std::int64_t difference(std::uint64_t before, std::uint64_t after) {
  return static_cast<std::int64_t>(after - before);
}

/// What an exit or throttle counter gained; nothing if it went back.
std::uint64_t gain(std::uint64_t before, std::uint64_t after) {
  return after > before ? after - before : 0;
}

bool plausible(std::int64_t step, std::int64_t interval) {
  const std::int64_t half = std::min(interval, kTermMaxNs / 2) / 2;
  return step >= -kJitterNs && step <= 3 * half + kLateNs;
}

bool plausible(const Step& step, std::int64_t interval) {
  return plausible(step.run, interval) && plausible(step.wait, interval) &&
         plausible(step.halt_poll, interval);
}

/// The change of the open wait: what was credited before is taken back, however
/// long that has grown; what is new lies within the interval's wait.
std::int64_t open_wait_step(const ThreadSample& before,
                            const ThreadSample& after, const Step& step) {
  const std::uint64_t was = open_wait_of(before);
  const std::uint64_t is = open_wait_of(after);
  if (is < was) {
    const auto most = static_cast<std::uint64_t>(kTermMaxNs);
    return -static_cast<std::int64_t>(std::min(was - is, most));
  }
  const auto waited =
      static_cast<std::uint64_t>(std::max<std::int64_t>(step.wait, 0));
  return static_cast<std::int64_t>(std::min(is - was, waited));
}

std::uint64_t positive(std::int64_t ns) {
  return ns > 0 ? static_cast<std::uint64_t>(ns) : 0;
}

Tally tally_of(const ThreadSample& before, const ThreadSample& after,
               const Step& step) {
  const std::int64_t wanted =
      step.run + open_wait_step(before, after, step) - step.halt_poll;
  Tally tally;
  tally.demand = positive(wanted);
  tally.overcounted = positive(-wanted);
  tally.run = positive(step.run);
  tally.wait = positive(step.wait);
  tally.halt_poll = positive(step.halt_poll);
  tally.open_wait = std::min({open_wait_of(after), tally.wait, tally.demand});
  return tally;
}

auto order_key(const ThreadSample& thread) {
  return std::tie(thread.thread_class, thread.vcpu, thread.id);
}

/// Demand of all VMs between two Samples, written into a Demand whose memory
/// suffices. Invariant: `interval_` > 0.
class Comparison {
 public:
  Comparison(std::int64_t interval, Demand& out)
      : interval_(interval), out_(out) {}

  /// Walks the threads of both in their common order.
  void add_vm(const VmView& before, const VmView& after) {
    VmDemand& vm = out_.vms.emplace_back();
    vm.id = after.vm.id;
    vm.first_thread = static_cast<std::uint32_t>(out_.threads.size());
    std::array<Tally, kThreadClasses> tallies{};
    std::uint32_t old = 0;
    for (std::uint32_t i = 0; i < after.vm.thread_count; ++i) {
      const auto key = order_key(after.thread(i));
      while (old < before.vm.thread_count &&
             order_key(before.thread(old)) < key) {
        ++old;
      }
      const bool met =
          old < before.vm.thread_count && order_key(before.thread(old)) == key;
      if (!met || !add_thread(before, old, after, i, vm, tallies)) {
        ++vm.uncounted;
      }
    }
    finish(before.vm, after.vm, tallies, vm);
  }

 private:
  bool add_thread(const VmView& before, std::uint32_t old, const VmView& after,
                  std::uint32_t i, VmDemand& vm,
                  std::array<Tally, kThreadClasses>& tallies) {
    const ThreadSample& was = before.thread(old);
    const ThreadSample& is = after.thread(i);
    if (was.state == ThreadState::kUnknown ||
        is.state == ThreadState::kUnknown) {
      return false;
    }
    const VcpuSample vcpu_was = before.vcpu(old);
    const VcpuSample vcpu_is = after.vcpu(i);
    const Step step{
        .run = difference(was.run_ns, is.run_ns),
        .wait = difference(was.wait_ns, is.wait_ns),
        .halt_poll = difference(vcpu_was.halt_poll_ns, vcpu_is.halt_poll_ns)};
    if (!plausible(step, interval_)) return false;

    const Tally tally = tally_of(was, is, step);
    add(tallies[static_cast<std::size_t>(is.thread_class)], tally);
    ThreadDemand& thread = out_.threads.emplace_back();
    describe(was, is, tally, thread);
    for (std::size_t e = 0; e < kExitClasses; ++e) {
      thread.exits[e] = gain(vcpu_was.exits[e], vcpu_is.exits[e]);
      vm.exits[e] += thread.exits[e];
    }
    vm.wakeups += thread.wakeups;
    vm.migrations += thread.migrations;
    vm.upper_bound |=
        thread.upper_bound && thread.thread_class == ThreadClass::kVcpu;
    return true;
  }

  void describe(const ThreadSample& was, const ThreadSample& is,
                const Tally& tally, ThreadDemand& thread) const {
    thread.id = is.id;
    thread.tid = is.tid;
    thread.vcpu = is.vcpu;
    thread.thread_class = is.thread_class;
    thread.upper_bound =
        busy(is) && tally.open_wait > positive(interval_ / kCertainShare);
    thread.cpu = to_class_demand(tally, interval_);
    thread.wakeups = std::uint32_t{is.wakeups - was.wakeups};  // wraps
    thread.migrations = std::uint32_t{is.migrations - was.migrations};
  }

  void finish(const VmSample& before, const VmSample& after,
              const std::array<Tally, kThreadClasses>& tallies,
              VmDemand& vm) const {
    for (std::size_t c = 0; c < kThreadClasses; ++c) {
      vm.by_class[c] = to_class_demand(tallies[c], interval_);
      add(vm.total, vm.by_class[c]);
    }
    vm.throttled =
        to_milli(gain(before.throttled_ns, after.throttled_ns), interval_);
    vm.all_runnable = to_milli(
        gain(before.all_runnable_ns, after.all_runnable_ns), interval_);
    vm.thread_count =
        static_cast<std::uint32_t>(out_.threads.size()) - vm.first_thread;
  }

  std::int64_t interval_;
  Demand& out_;
};

/// Nanoseconds from one instant to a later one; 0 if it is not later. Saturates
/// where the two are more than 292 years apart.
std::int64_t elapsed_ns(Instant from, Instant to) {
  if (to <= from) return 0;
  const auto span = static_cast<std::uint64_t>(to.time_since_epoch().count()) -
                    static_cast<std::uint64_t>(from.time_since_epoch().count());
  constexpr auto kMost = std::numeric_limits<std::int64_t>::max();
  return static_cast<std::int64_t>(
      std::min(span, static_cast<std::uint64_t>(kMost)));
}

void check_ranges(const Sample& sample) {
  for (const VmSample& vm : sample.vms) {
    assert(std::size_t{vm.first_thread} + vm.thread_count <=
           sample.threads.size());
    assert(std::size_t{vm.first_vcpu} + vm.vcpu_count <= sample.vcpus.size());
    (void)vm;  // a build without asserts reads none of it
  }
}

}  // namespace

const Demand& DemandSeries::update(const Sample& sample) {
  check_ranges(sample);
  const std::int64_t interval =
      started_ ? elapsed_ns(last_.taken, sample.taken) : 0;
  demand_.interval = Duration{interval};
  demand_.vms.clear();
  demand_.threads.clear();
  if (interval > 0) {
    demand_.vms.reserve(sample.vms.size());
    demand_.threads.reserve(sample.threads.size());
    Comparison comparison(interval, demand_);
    std::size_t old = 0;
    for (const VmSample& vm : sample.vms) {
      while (old < last_.vms.size() && last_.vms[old].id < vm.id) ++old;
      if (old == last_.vms.size()) break;
      if (last_.vms[old].id != vm.id) continue;
      comparison.add_vm({last_, last_.vms[old]}, {sample, vm});
    }
  }
  last_ = sample;
  started_ = true;
  return demand_;
}

}  // namespace outrider
