// SPDX-License-Identifier: Apache-2.0
// What the tests of the journal on disk share.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "agent/core/peak_forecaster.h"
#include "agent/journal.h"
#include "agent/sys/clock.h"
#include "tests/unit/shell/temporary_dir.h"

namespace outrider {

inline constexpr Duration kTick = std::chrono::milliseconds{20};

inline std::vector<std::byte> bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  std::vector<std::byte> bytes;
  for (const char c : text) bytes.push_back(static_cast<std::byte>(c));
  return bytes;
}

/// A Controller with VMs, and its journal.
class Host {
 public:
  explicit Host(Journal::Options options, std::uint32_t vms = 4)
      : controller_(enforcing(), {.cpus = 64}, kTick, make_forecaster) {
    auto made = Journal::make(std::move(options));
    EXPECT_TRUE(made) << made.error().what;
    journal = *std::move(made);
    for (std::uint32_t id = 1; id <= vms; ++id) {
      const VmFacts facts{
          .id = VmId{id}, .name = "web-" + std::to_string(id), .vcpus = 2};
      EXPECT_TRUE(controller_.add_vm(facts));
      journal->call(AddCall{facts});
      inputs_.push_back({.vm = VmId{id}});
    }
  }

  static Policy enforcing() {
    Policy policy;
    policy.mode = Mode::kEnforce;
    return policy;
  }

  void tick() {
    now_ += kTick;
    for (CpuInput& input : inputs_) {
      input.demand[0] = static_cast<std::int32_t>(++turn_ * 7919 % 2000);
      input.usage = input.demand[0];
    }
    const TickInput input{.now = now_, .interval = kTick, .vms = inputs_};
    const auto actions = controller_.tick(input);
    const std::vector<Action> plan(actions.begin(), actions.end());
    std::vector<Outcome> outcomes;
    for (const Action& action : plan) {
      outcomes.push_back(
          {.kind = Outcome::Kind::kApplied, .value = action.value});
    }
    controller_.settle(plan, outcomes);
    journal->tick(input, {.actions = plan, .outcomes = outcomes, .took = {}},
                  controller_);
  }
  void slow_tick() { journal->slow_tick(controller_, now_); }
  void finish() { journal->finish(controller_, now_); }
  Instant now() const { return now_; }

  /// Until the writer has come so far, for 10 s at most.
  template <class Is>
  bool wait_until(Is is) {
    const Instant end = monotonic_now() + std::chrono::seconds{10};
    while (!is(journal->status())) {
      if (monotonic_now() > end) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds{1});
    }
    return true;
  }

  std::unique_ptr<Journal> journal;

 private:
  Controller controller_;
  std::vector<CpuInput> inputs_;
  Instant now_{std::chrono::seconds{1}};
  std::uint32_t turn_ = 0;
};

inline Journal::Options options_in(const TemporaryDir& dir) {
  Journal::Options options;
  options.config.directory = dir.path() + "/journal";
  options.configuration = "tick_period_ms: 20\n";
  return options;
}

}  // namespace outrider
