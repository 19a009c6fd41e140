// SPDX-License-Identifier: Apache-2.0
// The part of ControlServer that has to do with time: verbs that go on
// answering, and peers that make it wait.
#include <fmt/format.h>
#include <sys/epoll.h>

#include <vector>

#include "agent/control.h"
#include "agent/control_connection.h"
#include "agent/sys/clock.h"

namespace outrider {
namespace {

constexpr std::int64_t kPeriodMsDefault = 1000;
constexpr Duration kLookPeriod = std::chrono::milliseconds{100};

}  // namespace

void ControlServer::start_stream(ControlConnection& connection,
                                 const ControlVerb& verb) {
  const auto count = connection.request->count("count");
  auto timer = PeriodicTimer::make(std::chrono::milliseconds{
      connection.request->count("period_ms").value_or(kPeriodMsDefault)});
  const int fd = connection.fd();
  auto watched =
      timer ? loop_.watch(timer->fd(), EPOLLIN,
                          [this, fd](std::uint32_t) { serve_stream(fd); })
            : Result<>{tl::unexpected<Error>(timer.error())};
  if (!watched) {
    refuse(connection, {ControlCode::kError, watched.error().what});
    return;
  }
  connection.stream.emplace();
  connection.stream->verb = &verb;
  connection.stream->timer = *std::move(timer);
  if (count) connection.stream->left = static_cast<std::uint64_t>(*count);
  stream_line(connection);
}

void ControlServer::stop_stream(ControlConnection& connection) {
  if (!connection.stream) return;
  loop_.forget(connection.stream->timer.fd());
  connection.stream.reset();
  connection.request.reset();
}

void ControlServer::serve_stream(int fd) {
  const auto found = connections_.find(fd);
  if (found == connections_.end() || !found->second->stream) return;
  ControlConnection& connection = *found->second;
  const std::uint64_t ticks = connection.stream->timer.take();
  if (ticks == 0) return;
  connection.stream->dropped += ticks - 1;
  if (connection.is_sending() || !pay(connection.uid)) {
    ++connection.stream->dropped;
    return;
  }
  stream_line(connection);
  if (connection.send(monotonic_now()))
    settle(connection);
  else
    close(fd);
}

void ControlServer::stream_line(ControlConnection& connection) {
  ControlStream& stream = *connection.stream;
  const bool replied = reply(connection, *stream.verb);
  stream.dropped = 0;
  if (!replied || (stream.left && --*stream.left == 0)) stop_stream(connection);
}

void ControlServer::keep_looking() {
  if (watchman_) return;
  auto timer = PeriodicTimer::make(kLookPeriod);
  if (!timer) {
    if (complaints_.pass(monotonic_now()))
      log_warning("control {} next=\"try again at the next request\"",
                  timer.error().what);
    return;
  }
  auto watched = loop_.watch(timer->fd(), EPOLLIN,
                             [this](std::uint32_t) { look_after(); });
  if (watched) watchman_ = *std::move(timer);
}

void ControlServer::look_after() {
  (void)watchman_->take();  // how many there were does not matter
  if (!listening_)
    listening_ = loop_.change(listener_.fd.get(), EPOLLIN).has_value();
  const Instant now = monotonic_now();
  bool somebody_waits = !listening_;
  std::vector<int> fds;
  for (const auto& [fd, connection] : connections_) fds.push_back(fd);
  for (const int fd : fds) {
    if (!look_after(*connections_.at(fd), now)) {
      close(fd);
      continue;
    }
    settle(*connections_.at(fd));
    const auto left = connections_.find(fd);
    somebody_waits = somebody_waits ||
                     (left != connections_.end() &&
                      (left->second->paused || left->second->is_sending()));
  }
  if (somebody_waits) return;
  loop_.forget(watchman_->fd());
  watchman_.reset();
}

// False: the peer is to be cut off.
bool ControlServer::look_after(ControlConnection& connection, Instant now) {
  if (connection.is_sending() &&
      now - connection.progress > limits_.reader_patience) {
    if (complaints_.pass(now))
      log_warning(
          "control uid={} what=\"does not read its answer\" "
          "next=\"cut off\"",
          connection.uid);
    return false;
  }
  if (!connection.paused) return true;
  connection.paused = false;
  return proceed(connection);
}

}  // namespace outrider
