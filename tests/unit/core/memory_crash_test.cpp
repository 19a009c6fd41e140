// SPDX-License-Identifier: Apache-2.0
// The agent dies (SIGKILL) at every point at which it has carried out a part of
// what was decided; the next one comes, and puts back what was before.
//
// What carrying out an action consists of, in this order (memory_control.cpp):
// the balloon is noted where a crash does not reach it; its QEMU takes the
// setting; and of one that is released, the note is dropped. No memory.high is
// ever written, so nothing of the cgroup's is to be put back.
#include <gtest/gtest.h>

#include <array>
#include <map>
#include <optional>
#include <span>

#include "agent/core/memory_controller.h"
#include "tests/unit/core/memory_host.h"

namespace outrider {
namespace {

struct Note {
  Bytes baseline;
  Bytes target;
};
using Book = std::map<VmId, Note>;

enum class FailPoint { kBeforeNote, kBeforeSet, kBeforeDrop, kAfter };
constexpr std::array kFailPoints = {FailPoint::kBeforeNote,
                                    FailPoint::kBeforeSet,
                                    FailPoint::kBeforeDrop, FailPoint::kAfter};

/// Where it dies: at one action of all that are decided; none: nowhere.
struct Death {
  std::optional<int> action;
  FailPoint point = FailPoint::kAfter;
};

class CrashRun {
 public:
  explicit CrashRun(Death death) : death_(death) { start(); }

  /// Dies on the way, if it is to; the next one starts two seconds later.
  void run_until(double seconds) {
    while (host_.seconds() < seconds) {
      const MemoryTickInput input = host_.next();
      check_guests();
      if (!controller_) {
        if (host_.now() >= next_start_) start();
        continue;
      }
      carry_out(controller_->tick(input));
    }
  }
  /// The agent's end. If it dies in it, the next one comes and ends as well.
  void end() {
    if (!controller_) start();
    carry_out(controller_->release(host_.now()));
    if (controller_) return;
    start();
    carry_out(controller_->tick(host_.next()));
    carry_out(controller_->release(host_.now()));
    ASSERT_TRUE(controller_) << "it dies once";
  }

  int actions() const { return actions_; }
  bool has_died() const { return has_died_; }
  bool has_taken() const { return has_taken_; }
  const Book& book() const { return book_; }
  SimMemoryHost& host() { return host_; }

 private:
  void start() {
    controller_.emplace(controller_of(memory_enforcing()));
    for (const auto& [vm, note] : book_) {
      controller_->adopt(vm, note.baseline, note.target);
    }
  }

  void carry_out(std::span<const MemoryAction> plan) {
    for (const MemoryAction& action : plan) {
      if (dies_at(FailPoint::kBeforeNote)) return;
      book_[action.vm] = {controller_->baseline(action.vm), action.value};
      if (dies_at(FailPoint::kBeforeSet)) return;
      host_.apply({&action, 1});
      has_taken_ |= action.value < action.old;
      if (dies_at(FailPoint::kBeforeDrop)) return;
      if (action.reason == MemoryReason::kReleased) book_.erase(action.vm);
      if (dies_at(FailPoint::kAfter)) return;
      ++actions_;
    }
  }

  bool dies_at(FailPoint point) {
    if (has_died_ || death_.action != actions_ || death_.point != point) {
      return false;
    }
    has_died_ = true;
    next_start_ = host_.now() + std::chrono::seconds{2};
    controller_.reset();
    return true;
  }

  void check_guests() {
    for (const SimGuest& guest : host_.guests()) {
      const MemoryFacts facts{.id = guest.id,
                              .name = guest.id == kRamp ? "ramp" : "batch"};
      const Bytes floor =
          resolve_memory(memory_enforcing(), facts).floor_of(guest.size);
      EXPECT_GE(guest.target, floor);
      EXPECT_GE(guest.balloon, floor);
    }
  }

  Death death_;
  SimMemoryHost host_{mib(1536), {ramp_guest(), batch_guest()}};
  std::optional<MemoryController> controller_;
  Book book_;
  Instant next_start_{};
  int actions_ = 0;
  bool has_died_ = false;
  bool has_taken_ = false;
};

void expect_as_before(CrashRun& run) {
  EXPECT_TRUE(run.has_taken());
  EXPECT_TRUE(run.book().empty());
  for (const SimGuest& guest : run.host().guests()) {
    EXPECT_EQ(guest.target, guest.size) << "its balloon is as it was";
  }
}

TEST(MemoryCrash, EveryFailPointIsPutRight) {
  CrashRun whole{{.action = std::nullopt}};
  whole.run_until(100);
  whole.end();
  expect_as_before(whole);
  ASSERT_GE(whole.actions(), 5);
  for (int action = 0; action < whole.actions(); ++action) {
    for (const FailPoint point : kFailPoints) {
      SCOPED_TRACE(testing::Message() << "action " << action << ", point "
                                      << static_cast<int>(point));
      CrashRun run{{.action = action, .point = point}};
      run.run_until(100);
      run.end();
      EXPECT_TRUE(run.has_died());
      expect_as_before(run);
    }
  }
}

}  // namespace
}  // namespace outrider
