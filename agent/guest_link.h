// SPDX-License-Identifier: Apache-2.0
// One VM's QEMU over QMP: what it says of the guest's memory, and its balloon.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "agent/base/result.h"
#include "agent/base/units.h"
#include "agent/core/memory_plan.h"
#include "agent/proc.h"
#include "agent/vm.h"
#include "qmp/client.h"
#include "qmp/events.h"

namespace outrider {

/// What is known of a guest's memory by its QEMU.
struct GuestFacts {
  Bytes size;  // that the guest was given; 0: not known
  // That the balloon leaves it, of all that it was given; 0: there is none, or
  // unknown.
  Bytes balloon;
  std::optional<GuestMemory> guest;
  std::int64_t stats_interval_s = 0;  // 0: the guest is never asked
  Fixed fixed = Fixed::kNo;
};

/// Keeps itself connected. Each second it asks what may have changed; an answer
/// that is missing leaves what is known, and the age of it grows.
/// Invariant: at most one request of a kind is out.
class GuestLink {
 public:
  /// Over the QMP socket that has "outrider" in its path, else the last; one
  /// of libvirt's own is none.
  /// `clients` must outlive it. Errors: ENOENT it has none; as read_cmdline's.
  static Result<std::unique_ptr<GuestLink>> make(qmp::Clients& clients,
                                                 const ProcRoot& proc,
                                                 const Vm& vm);

  enum class Pace : std::uint8_t {
    kEasy,      // each second
    kWatchful,  // it may be short of what was taken: its figures more often
    kClose,     // the balloon is moving: that, as often as this is called
  };
  /// Asks what is due.
  void refresh(Instant now, Pace pace);
  /// Has QEMU ask the guest for statistics each second, if it does not.
  void want_statistics() { wants_statistics_ = true; }
  /// What was there before want_statistics.
  void restore_statistics();

  /// Asks the guest to fit into `target`. `done` is told whether QEMU took it,
  /// unless the link ends before. Errors: it is not to be had now; `done` is
  /// not called.
  Result<> set_balloon(Bytes target, std::function<void(Result<>)> done);

  /// Who is told of the events that are known; empty: nobody.
  void tell_events(std::function<void(const qmp::KnownEvent&)> told) {
    told_ = std::move(told);
  }
  /// For requests that are not the link's own.
  qmp::Client& client() { return *client_; }

  GuestFacts facts() const;
  qmp::State state() const { return client_->state(); }
  /// For people; empty: all is well.
  const std::string& complaint() const { return complaint_; }
  const std::string& path() const { return client_->path(); }

 private:
  GuestLink() = default;
  void on_state(qmp::State before, qmp::State after);
  void on_event(const qmp::Event& event);
  void find_balloon(const char* folder);
  void take_over_statistics();
  void ask_size();
  void ask_devices(Bytes size);
  void ask_balloon();
  void ask_guest();
  void note_guest(const qmp::BalloonStats& stats);
  void complain(const Error& error);

  std::unique_ptr<qmp::Client> client_;
  std::function<void(const qmp::KnownEvent&)> told_;
  GuestFacts facts_;
  // QEMU's balloon knows nothing of virtio-mem: its figures leave that out.
  Bytes virtio_mem_;
  std::string balloon_path_;
  std::string complaint_;
  std::int64_t updated_s_ = 0;  // since 1970: the guest's last figures
  std::optional<std::int64_t> interval_before_;
  bool wants_statistics_ = false;
  bool is_asking_size_ = false;
  bool is_asking_balloon_ = false;
  bool is_asking_guest_ = false;
  Instant size_due_{};
  Instant second_due_{};
  Instant guest_due_{};
};

}  // namespace outrider
