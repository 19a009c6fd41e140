// SPDX-License-Identifier: Apache-2.0
// QMP servers in a process of their own, and clients for them.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "agent/sys/event_loop.h"
#include "qmp/client.h"

namespace outrider::bench {

enum class PeerManner : std::uint8_t {
  kPolite,
  kHung,    // negotiates, and answers nothing more
  kSilent,  // accepts, and says nothing
  kSlow,    // a byte a second, once negotiated
  kFloods,  // with events without end, once negotiated
};

/// Invariant: the process and its sockets exist while this does.
class PeerProcess {
 public:
  /// Each answers `delay` after it was asked.
  PeerProcess(std::size_t count, PeerManner manner, Duration delay);
  PeerProcess(const PeerProcess&) = delete;
  PeerProcess& operator=(const PeerProcess&) = delete;
  ~PeerProcess();
  std::string path(std::size_t index) const;
  std::size_t count() const { return count_; }

 private:
  std::string folder_ = "/tmp/qmp-peersXXXXXX";
  std::size_t count_;
  pid_t child_ = 0;
};

/// Clients of all peers of one process, on a loop that others may share.
class Crowd {
 public:
  Crowd(EventLoop& loop, const PeerProcess& peers, const qmp::Limits& limits);
  /// Waits until all are in `state`, 10 s at most; ends the program if not.
  void wait_for(qmp::State state);
  /// Asks each once, and waits until all have answered. Returns how long after
  /// the beginning each did, in ms. Ends the program if one does not.
  std::vector<double> ask_all();
  /// Asks each that can be asked, and does not wait.
  void try_ask_all();
  const qmp::Calls& calls() const { return clients_->calls(); }
  const qmp::Client& client(std::size_t index) const { return *all_[index]; }

 private:
  EventLoop& loop_;
  std::unique_ptr<qmp::Clients> clients_;
  std::vector<std::unique_ptr<qmp::Client>> all_;
  std::vector<double> answered_ms_;
};

[[noreturn]] void give_up(const std::string& what);

}  // namespace outrider::bench
