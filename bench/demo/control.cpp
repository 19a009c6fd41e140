// SPDX-License-Identifier: Apache-2.0
#include "bench/demo/control.h"

#include <algorithm>
#include <optional>

#include "agent/sys/clock.h"
#include "bench/demo/demand_meter.h"
#include "bench/demo/oracle.h"

namespace outrider::demo {
namespace {

// The oracle looks at the clock more often: it knows to the millisecond.
constexpr Duration kOracleTick = std::chrono::milliseconds{5};

struct Held {
  explicit Held(const Guest& guest)
      : facts(guest), cpu_max(guest), throttling(guest) {
    throttled = throttling.read().times;
  }
  const Guest& facts;
  CpuMaxFile cpu_max;
  ThrottlingFile throttling;
  std::uint64_t throttled = 0;  // at the last decision
  MilliCpus cap{kNoLimit};
  std::optional<Oracle> oracle;
};

void set_cap(Held& held, MilliCpus wanted) {
  if (!is_worth_a_write(held.cap, wanted)) return;
  held.cpu_max.write(wanted);
  held.cap = wanted;
}

MilliCpus wanted_cap(Held& held, const Baseline& baseline,
                     const DemandWindow& window) {
  const Guest& guest = held.facts;
  if (baseline.rule == Rule::kStatic)
    return static_cap(guest.mean, guest.peak, baseline.margin, guest.ceiling);
  if (baseline.rule == Rule::kOracle)
    return held.oracle->cap_at(monotonic_now());
  const std::uint64_t throttled = held.throttling.read().times;
  const bool was_throttled = throttled != held.throttled;
  held.throttled = throttled;
  return reactive_cap(baseline.rule == Rule::kReactive ? window.highest_period()
                                                       : window.percentile_95(),
                      baseline.margin, was_throttled, guest.ceiling);
}

// The batch guest gets what the others leave.
void decide(std::vector<Held>& all, const Baseline& baseline,
            const DemandMeter& meter) {
  std::vector<MilliCpus> caps;
  Held* batch = nullptr;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (all[i].facts.is_batch) {
      batch = &all[i];
      continue;
    }
    set_cap(all[i], wanted_cap(all[i], baseline, meter.window(i)));
    caps.push_back(all[i].cap);
  }
  if (batch != nullptr) set_cap(*batch, left_over(kCapacity, caps));
}

}  // namespace

void control(const std::vector<Guest>& guests, const Baseline& baseline) {
  std::vector<Held> all;
  all.reserve(guests.size());
  for (const Guest& guest : guests) {
    all.emplace_back(guest);
    if (baseline.rule == Rule::kOracle && !guest.is_batch)
      all.back().oracle.emplace(guest);
  }
  DemandMeter meter(guests);
  const Duration tick = baseline.rule == Rule::kOracle ? kOracleTick : kTick;
  Instant next = monotonic_now();
  Instant decision = next;
  for (; !is_told_to_stop(); next += tick) {
    sleep_until(next);
    const Instant now = monotonic_now();
    // Ticks that were missed are not made up for.
    if (now - next > tick) next = now;
    if (baseline.rule != Rule::kOracle) meter.read();
    if (now < decision) continue;
    decide(all, baseline, meter);
    decision += baseline.pace;
    if (decision < now) decision = now + baseline.pace;
  }
}

}  // namespace outrider::demo
