// SPDX-License-Identifier: Apache-2.0
// The control socket: a Unix stream socket, one JSON object a line.
//
//   {"verb": "vm.show", "vm": "web-3"}
//   {"ok":true,"schema":1,...}  or
//   {"ok":false,"schema":1,"code":2,"error":".."}
//
// A request that is no such object, or over 64 KiB, gets an error and the
// connection is closed. Codes are the exit codes of `outrider`.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/base/result.h"
#include "agent/base/units.h"
#include "agent/config.h"
#include "agent/control_request.h"
#include "agent/control_socket.h"
#include "agent/json.h"
#include "agent/log.h"
#include "agent/sys/event_loop.h"
#include "agent/sys/fd.h"

namespace outrider {

inline constexpr int kControlSchema = 1;

/// Each role may what the ones before it may.
enum class Role : std::uint8_t { kViewer, kOperator, kAdmin };
std::string_view role_name(Role role);

enum class ControlCode : std::uint8_t { kError = 1, kUsage = 2, kRefused = 4 };

struct ControlRefusal {
  ControlCode code = ControlCode::kError;
  std::string what;  // what is wrong and what to do about it
};
using ControlAnswer = tl::expected<void, ControlRefusal>;

struct ControlCall {
  const ControlRequest& request;
  Role role = Role::kViewer;
  // The handler's own, from line to line of a stream; 0 before the first.
  std::uint64_t& memory;
};

/// A row of the table of verbs.
struct ControlVerb {
  // Adds members to the reply's open object; what it added is dropped if it
  // refuses.
  using Handler = std::function<ControlAnswer(const ControlCall&, JsonText&)>;

  std::string_view name;
  Role role = Role::kViewer;  // the least that may
  std::vector<ControlArg> args;
  Handler handler;
  // Answers with a line every `period_ms`, `count` times (absent: for ever).
  // Both are args of every such verb; "dropped" counts the lines before this
  // one that the reader was too slow for.
  bool streams = false;
};

struct ControlLimits {
  std::size_t connections = 64;
  std::size_t connections_for_root = 8;  // of these
  std::size_t connections_per_uid = 16;  // root is exempt
  std::size_t reply_bytes = std::size_t{4} << 20;
  Duration reader_patience = std::chrono::seconds{10};
  Duration request_cost = std::chrono::milliseconds{5};  // 200 a second
  Duration request_burst = std::chrono::milliseconds{250};
};

class ControlConnection;

/// Serves the control socket on the loop.
/// Invariant: bounded in connections, in bytes a connection holds, and in what
/// a uid may ask a second; no peer makes it wait.
class ControlServer {
 public:
  /// Makes the socket's directory, replaces the socket of a dead daemon.
  /// Errors: a daemon answers there already; what the file system says.
  static Result<std::unique_ptr<ControlServer>> make(
      EventLoop& loop, const ControlConfig& config,
      std::vector<ControlVerb> verbs, const ControlLimits& limits = {});
  ~ControlServer();  // removes the socket, if it is still its own
  ControlServer(const ControlServer&) = delete;
  ControlServer& operator=(const ControlServer&) = delete;

  std::size_t connection_count() const { return connections_.size(); }

 private:
  // What one uid holds and has spent.
  struct Account {
    std::size_t connections = 0;
    Instant paid_until{};  // requests are paid for up to here
  };

  ControlServer(EventLoop& loop, std::vector<ControlVerb> verbs,
                const ControlLimits& limits);
  Result<> start(const ControlConfig& config);

  void accept_some();
  void admit(Fd fd);
  std::string refusal_for(uid_t uid);
  void close(int fd);

  void serve(int fd, std::uint32_t epoll_events);
  bool proceed(ControlConnection& connection);
  void settle(ControlConnection& connection);
  void answer(ControlConnection& connection, std::string_view line);
  const ControlVerb* permit(ControlConnection& connection,
                            const ControlRequest& request);
  bool reply(ControlConnection& connection, const ControlVerb& verb);
  void refuse(ControlConnection& connection, const ControlRefusal& refusal);
  bool pay(uid_t uid);

  void start_stream(ControlConnection& connection, const ControlVerb& verb);
  void stop_stream(ControlConnection& connection);
  void serve_stream(int fd);
  void stream_line(ControlConnection& connection);

  void keep_looking();
  void look_after();
  bool look_after(ControlConnection& connection, Instant now);

  EventLoop& loop_;
  std::vector<ControlVerb> verbs_;
  ControlLimits limits_;
  std::string path_;
  ControlListener listener_;
  bool listening_ = false;  // paused while descriptors are short
  std::map<int, std::unique_ptr<ControlConnection>> connections_;
  std::map<uid_t, Account> accounts_;
  // Looks after those who wait; there is none while nobody does.
  std::optional<PeriodicTimer> watchman_;
  LogLimit complaints_{std::chrono::seconds{10}};
};

}  // namespace outrider
