// SPDX-License-Identifier: Apache-2.0
// Sessions over Unix sockets, on an EventLoop.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "agent/base/result.h"
#include "agent/base/units.h"
#include "agent/sys/event_loop.h"
#include "agent/sys/fd.h"
#include "qmp/session.h"
#include "qmp/verbs.h"

namespace outrider::qmp {

/// System calls that were made, the waiting of the loop aside.
struct Calls {
  std::uint64_t sends = 0;
  std::uint64_t receives = 0;
  std::uint64_t connects = 0;  // each with its socket and its close
  std::uint64_t timers = 0;    // read or set
};

class Client;

/// What clients of one thread share: a loop, a timer, a buffer to read into.
/// While nothing is due and nobody says anything, they cost no system call.
/// Invariant: outlives its clients.
class Clients {
 public:
  /// `loop` must outlive it.
  static Result<std::unique_ptr<Clients>> make(EventLoop& loop);
  Clients(const Clients&) = delete;
  Clients& operator=(const Clients&) = delete;
  ~Clients();

  /// Since the beginning, of all clients.
  const Calls& calls() const { return calls_; }
  /// Clients that there are now.
  std::size_t size() const;

 private:
  friend class Client;

  explicit Clients(EventLoop& loop) : loop_(loop) {}
  void add(Client& client);
  void remove(const Client& client);
  void wake_at(Instant due);
  void set_timer(Instant at);
  void on_timer();

  EventLoop& loop_;
  Fd timer_;
  Instant armed_ = Instant::max();
  std::vector<Client*> clients_;  // null: removed while on_timer goes through
  bool is_going_through_ = false;
  std::string buffer_;
  Calls calls_;
};

/// One QEMU. Its callbacks are called from the loop's turns, never from within
/// `ask`; in any of them any client may be destroyed, this one too.
class Client {
 public:
  struct Listener {
    /// An event that was not dropped.
    std::function<void(const Event& event)> on_event;
    /// Only when it has changed.
    std::function<void(State before, State after)> on_state;
  };
  using OnCompletion = std::function<void(Completion completion)>;

  /// Connects from the next turn of the loop on, and again whenever that is
  /// lost. `clients` must outlive it; each function of `listener` may be empty.
  /// Errors: EPERM libvirt's own monitor, ENAMETOOLONG no socket's path.
  static Result<std::unique_ptr<Client>> make(Clients& clients,
                                              std::string path,
                                              Listener listener,
                                              const Limits& limits = {});
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  /// Requests that have not ended then are not completed.
  ~Client();

  /// `on_completion` is called exactly once, unless this is destroyed before.
  /// Errors: Session::ask's; then it is never called.
  Result<RequestId> ask(const Request& request, OnCompletion on_completion);

  /// The same, typed: `on_answer` gets a Result<T>.
  /// Errors of the answer: to_result's, and EBADMSG an impossible one.
  template <class T, class OnAnswer>
  Result<RequestId> ask(const Verb<T>& verb, OnAnswer on_answer) {
    return ask(verb.request,
               [parse = verb.parse,
                answer = std::move(on_answer)](Completion ended) mutable {
                 answer(read<T>(parse, std::move(ended)));
               });
  }

  /// As Session's.
  State state() const { return session_.state(); }
  /// As Session's: whether it is slow, lies or is gone, and what it says of
  /// itself.
  const Session& session() const { return session_; }
  /// Where it connects to.
  const std::string& path() const { return path_; }
  /// Who listens there, or did when it began to (SO_PEERCRED).
  /// Errors: ENOTCONN.
  Result<pid_t> peer_pid() const;
  /// Bytes held for this peer.
  std::size_t memory() const;

 private:
  friend class Clients;

  Client(Clients& clients, std::string path, Listener listener,
         const Limits& limits);
  // Not inlined: g++ 12 sees members of what is not there as uninitialized.
  template <class T>
  [[gnu::noinline]] static Result<T> read(Result<T> (*parse)(const json_t*),
                                          Completion ended) {
    auto value = to_result(std::move(ended));
    if (value) return parse(value->get());
    return tl::unexpected<Error>(std::move(value.error()));
  }
  Instant next_due() const { return session_.next_due(); }
  void on_due(Instant now);
  void on_ready(std::uint32_t epoll_events);
  void receive(Instant now);
  bool take_outputs(Instant now);
  bool deliver(Output output);
  bool tell_state();
  void advance(Instant now);
  void connect(Instant now);
  Result<> open_socket();
  void drop_socket();
  void flush();
  void watch_for(std::uint32_t epoll_events);

  Clients& clients_;
  const std::string path_;
  Listener listener_;
  Session session_;
  State told_;  // the state that the listener knows
  Fd fd_;
  std::uint32_t watched_for_ = 0;  // epoll events; 0: not watched
  std::vector<std::pair<RequestId, OnCompletion>> asked_;
  bool* destroyed_ = nullptr;  // set where a callback may destroy this
};

}  // namespace outrider::qmp
