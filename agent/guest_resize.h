// SPDX-License-Identifier: Apache-2.0
// Brings one guest to another size by its QEMU, step by step.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/base/result.h"
#include "agent/base/units.h"
#include "agent/resize_plan.h"
#include "qmp/client.h"
#include "qmp/events.h"

namespace outrider {

enum class ResizePhase : std::uint8_t {
  kLooking,  // at what it has
  kPlanned,  // a dry run ends so
  kMoving,
  kDone,
  kFailed,
};
/// The word for it, for people and programs.
std::string_view to_text(ResizePhase phase);

struct ResizeOptions {
  ResizeWish wish;
  Bytes least;  // of memory: its floor
  bool dry_run = false;
  Duration patience;  // for each step
};

/// What is to be seen of it at any time.
struct ResizeProgress {
  ResizePhase phase = ResizePhase::kLooking;
  std::vector<ResizeStep> steps;
  std::vector<Duration> took;       // of each step that is done
  Bytes reached;                    // of the step that is under way
  std::string why;                  // it failed
  std::optional<GuestShape> shape;  // as seen last
};

/// A step is done when QEMU says that the guest has what was asked for, by a
/// query; that it took the request is not enough. The next one begins then. A
/// refusal, by QEMU or by the guest, or a step that takes longer than the
/// patience for it ends the whole: what was done stays, and an unplug that
/// was asked for may happen yet.
/// Invariant: one request is out at a time.
class GuestResize {
 public:
  /// `client` must outlive it.
  GuestResize(qmp::Client& client, ResizeOptions options);
  GuestResize(const GuestResize&) = delete;
  GuestResize& operator=(const GuestResize&) = delete;

  /// Goes on, if it waits for nothing but time. To be called every few ms.
  void advance(Instant now);
  void on_event(const qmp::KnownEvent& event);

  const ResizeProgress& progress() const { return progress_; }
  bool is_over() const {
    return progress_.phase >= ResizePhase::kDone ||
           progress_.phase == ResizePhase::kPlanned;
  }

 private:
  // A look is these queries, one after another.
  enum class Look : std::uint8_t { kNone, kSize, kDevices, kCpus, kBalloon };

  void look(Look next);
  void looked();
  void missed(const Error& error);
  std::string overdue_text() const;
  void begin_step();
  void send_step(const ResizeStep& step);
  void plug_dimm(const ResizeStep& step);
  void step_taken(Result<qmp::Done> taken);
  void check_step();
  void clean_up(const ResizeStep& step);
  void fail_with(std::string why);
  template <class T>
  void ask(const qmp::Verb<T>& verb, std::function<void(Result<T>)> then);
  const ResizeStep& step() const {
    return progress_.steps[progress_.took.size()];
  }

  qmp::Client& client_;
  ResizeOptions options_;
  ResizeProgress progress_;
  GuestShape seen_;
  std::string missed_;      // why the last look saw nothing
  bool is_asking_ = false;  // a request is out
  bool was_sent_ = false;   // the step's request was taken
  Instant now_{};
  Instant begun_{};  // the step, or the first look
  Instant look_at_{};
  // What callbacks that come after the end find gone.
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace outrider
