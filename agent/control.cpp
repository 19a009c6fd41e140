// SPDX-License-Identifier: Apache-2.0
// Who may connect, and what is done for whom when. See control_stream.cpp for
// the verbs that go on answering.
#include "agent/control.h"

#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "agent/control_connection.h"
#include "agent/sys/clock.h"

namespace outrider {
namespace {

constexpr int kAcceptsPerTurn = 8;
constexpr std::size_t kAccountsKept = 256;
constexpr std::array<std::string_view, 3> kRoles = {"viewer", "operator",
                                                    "admin"};

void append_refusal(std::string& out, const ControlRefusal& refusal) {
  JsonText json{out};
  json.object()
      .member("ok", false)
      .member("schema", kControlSchema)
      .member("code", static_cast<unsigned>(refusal.code))
      .member("error", refusal.what)
      .end();
  out += '\n';
}

}  // namespace

std::string_view role_name(Role role) {
  return kRoles[static_cast<std::size_t>(role)];
}

ControlServer::ControlServer(EventLoop& loop, std::vector<ControlVerb> verbs,
                             const ControlLimits& limits)
    : loop_(loop), verbs_(std::move(verbs)), limits_(limits) {}

Result<std::unique_ptr<ControlServer>> ControlServer::make(
    EventLoop& loop, const ControlConfig& config,
    std::vector<ControlVerb> verbs, const ControlLimits& limits) {
  std::unique_ptr<ControlServer> server{
      new ControlServer(loop, std::move(verbs), limits)};
  auto started = server->start(config);
  if (!started) return tl::unexpected<Error>(std::move(started.error()));
  return server;
}

Result<> ControlServer::start(const ControlConfig& config) {
  auto listener = open_control_socket(config);
  if (!listener) return tl::unexpected<Error>(std::move(listener.error()));
  listener_ = *std::move(listener);
  path_ = config.socket;
  listening_ = true;
  return loop_.watch(listener_.fd.get(), EPOLLIN,
                     [this](std::uint32_t) { accept_some(); });
}

ControlServer::~ControlServer() {
  while (!connections_.empty()) close(connections_.begin()->first);
  if (watchman_) loop_.forget(watchman_->fd());
  if (!listener_.fd) return;
  loop_.forget(listener_.fd.get());
  struct stat found {};
  if (::lstat(path_.c_str(), &found) == 0 && found.st_dev == listener_.device &&
      found.st_ino == listener_.inode)
    (void)::unlink(path_.c_str());  // a later daemon replaces it otherwise
}

void ControlServer::accept_some() {
  for (int i = 0; i < kAcceptsPerTurn; ++i) {
    Fd fd{::accept4(listener_.fd.get(), nullptr, nullptr,
                    SOCK_CLOEXEC | SOCK_NONBLOCK)};
    if (fd) {
      admit(std::move(fd));
      continue;
    }
    if (errno == EAGAIN) return;
    if (errno == ECONNABORTED || errno == EINTR) continue;
    if (complaints_.pass(monotonic_now()))
      log_warning("control accept errno={} next=\"try again later\"", errno);
    // Out of descriptors: level-triggered, this would spin.
    listening_ = false;
    (void)loop_.change(listener_.fd.get(), 0);  // then it spins, but serves
    keep_looking();
    return;
  }
}

std::string ControlServer::refusal_for(uid_t uid) {
  const bool is_root = uid == 0;
  const std::size_t room =
      limits_.connections - (is_root ? 0 : limits_.connections_for_root);
  if (connections_.size() >= room)
    return fmt::format("{} connections already: try again later",
                       connections_.size());
  if (!is_root && accounts_[uid].connections >= limits_.connections_per_uid)
    return fmt::format("uid {} has {} connections already: close one", uid,
                       accounts_[uid].connections);
  if (!pay(uid)) return fmt::format("uid {} asks too much: slow down", uid);
  return "";
}

void ControlServer::admit(Fd fd) {
  const auto peer = ControlPeer::of(fd.get());
  if (!peer) return;  // gone already
  if (accounts_.size() > kAccountsKept)
    std::erase_if(accounts_, [now = monotonic_now()](const auto& entry) {
      return entry.second.connections == 0 && entry.second.paid_until <= now;
    });
  const std::string refusal = refusal_for(peer->uid);
  if (!refusal.empty()) {
    std::string line;
    append_refusal(line, {ControlCode::kError, refusal});
    // A new socket takes a line; if not, the peer sees the end only.
    (void)::send(fd.get(), line.data(), line.size(),
                 MSG_DONTWAIT | MSG_NOSIGNAL);
    return;
  }
  const int number = fd.get();
  auto connection = std::make_unique<ControlConnection>(
      std::move(fd), role_of(*peer, listener_.operators), peer->uid);
  connection->interest = EPOLLIN;
  const auto watched = loop_.watch(
      number, EPOLLIN,
      [this, number](std::uint32_t events) { serve(number, events); });
  if (!watched) return;  // closed: as if it had not come
  ++accounts_[peer->uid].connections;
  connections_.emplace(number, std::move(connection));
}

void ControlServer::close(int fd) {
  const auto found = connections_.find(fd);
  if (found == connections_.end()) return;
  stop_stream(*found->second);
  --accounts_[found->second->uid].connections;
  loop_.forget(fd);
  connections_.erase(found);
}

void ControlServer::serve(int fd, std::uint32_t epoll_events) {
  const auto found = connections_.find(fd);
  if (found == connections_.end()) return;
  ControlConnection& connection = *found->second;
  bool alive = (epoll_events & (EPOLLHUP | EPOLLERR)) == 0;
  if (alive && (epoll_events & EPOLLIN) != 0)
    alive = connection.receive() != ControlConnection::Input::kBroken;
  if (alive && proceed(connection))
    settle(connection);
  else
    close(fd);
}

// Sends, and answers one request at most: the next turn serves the others
// first. False: the peer is gone.
bool ControlServer::proceed(ControlConnection& connection) {
  if (!connection.send(monotonic_now())) return false;
  if (connection.is_sending() || connection.stream || connection.paused ||
      connection.closing)
    return true;
  if (connection.is_line_too_long()) {
    connection.closing = true;
    refuse(connection, {ControlCode::kUsage,
                        fmt::format("a request is one line of at most {} bytes",
                                    kRequestBytesMax)});
    return connection.send(monotonic_now());
  }
  const auto line = connection.line();
  if (!line) return true;
  if (!pay(connection.uid)) {
    connection.paused = true;
    keep_looking();
    return true;
  }
  answer(connection, *line);
  connection.drop_line();
  return connection.send(monotonic_now());
}

// Watches for what the connection can do next; closes it if that is nothing.
void ControlServer::settle(ControlConnection& connection) {
  const bool sending = connection.is_sending();
  const bool has_line =
      connection.line().has_value() || connection.is_line_too_long();
  const bool is_done = connection.closing || (connection.has_ended() &&
                                              !has_line && !connection.stream);
  if (!sending && is_done) {
    close(connection.fd());
    return;
  }
  std::uint32_t interest = 0;
  // Writable is at once: the next request's turn.
  const bool is_next = has_line && !connection.stream && !connection.paused;
  if (sending || is_next) interest |= EPOLLOUT;
  if (!has_line && !connection.has_ended() && !connection.closing)
    interest |= EPOLLIN;
  if (sending) keep_looking();
  if (interest == connection.interest) return;
  connection.interest = interest;
  if (!loop_.change(connection.fd(), interest)) close(connection.fd());
}

void ControlServer::answer(ControlConnection& connection,
                           std::string_view line) {
  auto request = ControlRequest::parse(line);
  if (!request) {
    connection.closing = true;
    refuse(connection, {ControlCode::kUsage, std::move(request.error().what)});
    return;
  }
  const ControlVerb* verb = permit(connection, *request);
  if (verb == nullptr) return;
  connection.request = *std::move(request);
  connection.memory = 0;
  if (verb->streams) {
    start_stream(connection, *verb);
  } else {
    (void)reply(connection, *verb);  // a refusal has been sent instead
    connection.request.reset();
  }
}

// The verb that is asked for; nullptr after a refusal.
const ControlVerb* ControlServer::permit(ControlConnection& connection,
                                         const ControlRequest& request) {
  const auto verb = std::find_if(
      verbs_.begin(), verbs_.end(),
      [&](const auto& each) { return each.name == request.verb(); });
  if (verb == verbs_.end()) {
    std::string what = "no such verb; there are:";
    for (const ControlVerb& each : verbs_) what.append(" ").append(each.name);
    refuse(connection, {ControlCode::kUsage, std::move(what)});
    return nullptr;
  }
  if (connection.role < verb->role) {
    refuse(connection,
           {ControlCode::kRefused,
            fmt::format("{} is for the role {}; uid {} is {}", verb->name,
                        role_name(verb->role), connection.uid,
                        role_name(connection.role))});
    return nullptr;
  }
  auto checked = request.check(verb->args);
  if (!checked) {
    refuse(connection, {ControlCode::kUsage, std::move(checked.error().what)});
    return nullptr;
  }
  return &*verb;
}

bool ControlServer::reply(ControlConnection& connection,
                          const ControlVerb& verb) {
  std::string& out = connection.out();
  const std::size_t start = out.size();
  if (!connection.is_sending()) connection.progress = monotonic_now();
  JsonText json{out};
  json.object().member("ok", true).member("schema", kControlSchema);
  if (connection.stream) json.member("dropped", connection.stream->dropped);
  const ControlCall call{.request = *connection.request,
                         .role = connection.role,
                         .memory = connection.memory};
  const ControlAnswer answered = verb.handler(call, json);
  if (answered && out.size() - start < limits_.reply_bytes) {
    json.end();
    out += '\n';
    return true;
  }
  out.resize(start);
  if (answered)
    refuse(connection, {ControlCode::kError,
                        fmt::format("the answer has more than {} bytes",
                                    limits_.reply_bytes)});
  else
    refuse(connection, answered.error());
  return false;
}

void ControlServer::refuse(ControlConnection& connection,
                           const ControlRefusal& refusal) {
  if (!connection.is_sending()) connection.progress = monotonic_now();
  append_refusal(connection.out(), refusal);
}

// A bucket of requests that fills with time: false when it is empty.
bool ControlServer::pay(uid_t uid) {
  if (uid == 0) return true;
  const Instant now = monotonic_now();
  Account& account = accounts_[uid];
  account.paid_until = std::max(account.paid_until, now);
  if (account.paid_until - now > limits_.request_burst) return false;
  account.paid_until += limits_.request_cost;
  return true;
}

}  // namespace outrider
