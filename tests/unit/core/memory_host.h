// SPDX-License-Identifier: Apache-2.0
// A host with guests that use, free and give memory, for tests of the
// MemoryController: what a balloon frees is what the guest had touched and
// does not use.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <vector>

#include "agent/core/memory_controller.h"

namespace outrider {

constexpr Bytes mib(std::int64_t count) {
  return Bytes{count * kMebibyte.count()};
}

struct SimGuest {
  VmId id{};
  Bytes size = mib(1024);
  Bytes touched = mib(256);           // of the guest's memory, by now
  std::function<Bytes(double)> used;  // at a time in seconds
  Bytes per_tick = mib(32);           // the balloon takes so much at most
  bool obeys = true;
  bool tells = true;
  Fixed fixed = Fixed::kNo;
  // What it says it has available, in the place of the truth.
  std::function<Bytes(Bytes)> lie = {};

  Bytes balloon = size;
  Bytes target = size;
  Bytes wants{};  // used, as far as the balloon lets it
  std::uint64_t swapped = 0;
};

class SimMemoryHost {
 public:
  static constexpr Duration kTick = std::chrono::milliseconds{100};
  static constexpr Bytes kOverhead = Bytes{48 * kMebibyte.count()};

  SimMemoryHost(Bytes total, std::vector<SimGuest> guests)
      : total_(total), guests_(std::move(guests)) {
    for (SimGuest& guest : guests_) guest.balloon = guest.target = guest.size;
  }

  /// A tenth of a second later. What the controller is told.
  MemoryTickInput next() {
    ++ticks_;
    inputs_.clear();
    for (SimGuest& guest : guests_) {
      live(guest);
      inputs_.push_back(told_of(guest));
    }
    return {.now = now(),
            .host = {.total = total_, .available = available()},
            .vms = inputs_};
  }
  void apply(std::span<const MemoryAction> plan) {
    for (const MemoryAction& action : plan) {
      for (SimGuest& guest : guests_) {
        if (guest.id == action.vm) guest.target = action.value;
      }
    }
  }

  double seconds() const { return 0.1 * static_cast<double>(ticks_); }
  Instant now() const { return Instant{} + (ticks_ + 1) * kTick; }
  /// What is missing is swapped or stalled for: below nothing.
  Bytes available() const {
    Bytes left = total_;
    for (const SimGuest& guest : guests_) left = left - resident(guest);
    return left;
  }
  std::vector<SimGuest>& guests() { return guests_; }

 private:
  static Bytes resident(const SimGuest& guest) {
    return guest.touched + kOverhead;
  }

  void live(SimGuest& guest) const {
    if (guest.obeys) move_balloon(guest);
    guest.wants = guest.used ? guest.used(seconds()) : mib(128);
    const Bytes used = std::min(guest.wants, guest.balloon);
    if (used < guest.wants) ++guest.swapped;
    guest.touched = std::max(guest.touched, used);
  }

  // What the balloon takes are free pages, touched ones and others alike.
  static void move_balloon(SimGuest& guest) {
    if (guest.target >= guest.balloon) {
      guest.balloon = guest.target;
      return;
    }
    const Bytes used = std::min(guest.wants, guest.balloon);
    const Bytes free = guest.balloon - used;
    const Bytes taken =
        std::min({guest.per_tick, guest.balloon - guest.target, free});
    if (free.count() <= 0) return;
    const double share = static_cast<double>((guest.touched - used).count()) /
                         static_cast<double>(free.count());
    const auto freed =
        static_cast<std::int64_t>(share * static_cast<double>(taken.count()));
    guest.balloon = guest.balloon - taken;
    guest.touched = guest.touched - Bytes{freed};
  }

  MemoryInput told_of(const SimGuest& guest) const {
    MemoryInput input{.vm = guest.id,
                      .resident = resident(guest),
                      .swapped = {},
                      .size = guest.size,
                      .balloon = guest.balloon,
                      .fixed = guest.fixed};
    if (!guest.tells) return input;
    const Bytes available =
        guest.balloon - std::min(guest.wants, guest.balloon);
    input.guest = GuestMemory{
        .total = guest.size,
        .available = guest.lie ? guest.lie(available) : available,
        .major_faults = 0,
        .swapped_in = {},
        .swapped_out = Bytes{static_cast<std::int64_t>(guest.swapped)},
        .age = {}};
    return input;
  }

  Bytes total_;
  std::vector<SimGuest> guests_;
  std::vector<MemoryInput> inputs_;
  std::int64_t ticks_ = 0;
};

constexpr VmId kRamp{1};
constexpr VmId kBatch{2};

inline Policy memory_enforcing() {
  Policy policy;
  policy.mode = Mode::kEnforce;
  policy.memory.mode = Mode::kEnforce;
  policy.memory.learn = std::chrono::seconds{5};
  policy.vms = {{.match = "ramp", .vm_class = VmClass::kProduction},
                {.match = "batch", .vm_class = VmClass::kBatch},
                {.match = "critical", .vm_class = VmClass::kCritical}};
  return policy;
}

/// 256 MiB, and from the 60th second on 40 MiB a second up to 1 GiB.
inline Bytes ramp(double seconds) {
  const double grown = std::clamp(40 * (seconds - 60), 0.0, 768.0);
  return mib(256 + static_cast<std::int64_t>(grown));
}

inline SimGuest ramp_guest() {
  return {.id = kRamp, .size = mib(1280), .touched = mib(256), .used = ramp};
}

/// It had used all that it has, and now uses 200 MiB of it.
inline SimGuest batch_guest() {
  return {.id = kBatch,
          .size = mib(1024),
          .touched = mib(1024),
          .used = [](double) { return mib(200); }};
}

inline MemoryController controller_of(const Policy& policy) {
  MemoryController controller(policy);
  controller.add_vm({.id = kRamp, .name = "ramp"});
  controller.add_vm({.id = kBatch, .name = "batch"});
  return controller;
}

/// What came of a run.
struct Seen {
  Bytes least_available = mib(1 << 20);
  std::uint64_t actions = 0;
};

inline Seen run(SimMemoryHost& host, MemoryController& controller,
                double seconds) {
  Seen seen;
  while (host.seconds() < seconds) {
    const auto plan = controller.tick(host.next());
    seen.least_available = std::min(seen.least_available, host.available());
    seen.actions += plan.size();
    host.apply(plan);
  }
  return seen;
}

}  // namespace outrider
