// SPDX-License-Identifier: Apache-2.0
// What a Controller is made of: for its own files alone.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "agent/core/arbitrate.h"
#include "agent/core/controller.h"
#include "agent/core/season_search.h"
#include "agent/core/seat.h"

namespace outrider {

class FieldReader;

struct Controller::Inside {
  // Pieces of the search for seasons, a tick: a few microseconds each.
  static constexpr std::size_t kPonders = 4;

  /// What was learned of a VM that is gone.
  struct Suspended {
    std::array<std::vector<std::byte>, Seat::kSeries> series;
    std::uint64_t number = 0;  // the lowest is dropped first
    // Ticks before the start, if it was kept ever since; 0: it was not.
    std::uint64_t missed = 0;
  };

  Rules rules;
  HostFacts host;
  ForecasterFactory make_forecaster;
  std::vector<std::unique_ptr<Seat>> seats;  // sorted by id
  std::map<std::string, Suspended> suspended;
  std::uint64_t suspensions = 0;
  Arbiter arbiter;
  std::vector<Claim> claims;
  std::vector<Share> shares;
  std::vector<std::pair<MilliCpus, std::uint32_t>> spare;  // scratch
  std::vector<Action> plan;
  std::vector<Action> grown;  // scratch: the second half of a plan
  Instant first_tick{};
  Instant now{};
  std::uint64_t steps = 0;
  SeasonSearch search;
  std::size_t pondering = 0;     // the series that it is of
  std::size_t ponders_left = 0;  // of this tick's
  MilliCpus free;                // neither needed nor reserved
  bool started = false;

  /// As Controller::capacity.
  MilliCpus capacity() const;
  /// Where it is, or would be.
  std::vector<std::unique_ptr<Seat>>::iterator place_of(VmId vm);
  /// Of the seat there, in the order in which seasons are searched for.
  std::size_t first_series(
      std::vector<std::unique_ptr<Seat>>::iterator place) const {
    return static_cast<std::size_t>(place - seats.begin()) * Seat::kSeries;
  }
  /// nullptr: there is none such.
  Seat* seat(VmId vm);
  /// Of the clock since the last tick.
  std::uint32_t steps_until(Instant at);
  /// A tick's parts, in this order.
  void sense(const TickInput& input);
  /// What each VM gets.
  void arbitrate();
  /// What is only held because lowering is slow goes to who lacks it; true if
  /// any claim has changed.
  bool give_way();
  /// What is to be written, into `plan`.
  void decide();
  /// Appends it, if the VM is to be written to.
  void push(std::vector<Action>& actions, const Action& action,
            const Seat& seat) const;
  /// As Controller::ponder.
  bool ponder();
  /// What of this tick's is left, before anything changes.
  void ponder_rest();
  /// Errors: as Controller::check, of the VMs that are here.
  Result<> check_floors() const;
  /// So that no tick allocates.
  void make_room();
  /// Its mode may be another now; who begins or ends to be enforced stands
  /// back.
  void follow_mode(Seat& seat) const;
  /// A VM goes, and may come back.
  void suspend(const Seat& seat);
  /// Errors: as Controller::take_learned.
  Result<Suspended> read_learned(std::span<const std::byte> bytes) const;
  /// What waits under that key: new, in place of the oldest where there are
  /// many.
  Suspended& place_to_keep(const std::string& key);
  /// What was learned of it waits there.
  Suspended& keep(const Seat& seat, const std::string& key);
  /// It goes on from what waits for it, if anything does.
  void resume(Seat& seat);
  /// As Controller::load.
  void load(FieldReader& in);
};

}  // namespace outrider
