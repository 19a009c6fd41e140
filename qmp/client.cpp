// SPDX-License-Identifier: Apache-2.0
#include "qmp/client.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "agent/sys/clock.h"
#include "qmp/command_line.h"

namespace outrider::qmp {
namespace {

// Of one peer in one turn: what it says beyond delays the others by less.
constexpr std::size_t kReadBytes = std::size_t{16} << 10;

Result<> check_path(const std::string& path) {
  if (path.empty() || path.size() >= sizeof(sockaddr_un::sun_path))
    return fail(ENAMETOOLONG, "qmp: '" + path + "': no path of a socket");
  if (is_libvirt_monitor(path))
    return fail(EPERM, "qmp: " + path + ": libvirt's own monitor");
  return {};
}

}  // namespace

// --- Clients
// ------------------------------------------------------------------

Result<std::unique_ptr<Clients>> Clients::make(EventLoop& loop) {
  std::unique_ptr<Clients> clients{new Clients(loop)};
  clients->buffer_.resize(kReadBytes);
  clients->timer_ =
      Fd{::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)};
  if (!clients->timer_) return fail(errno, "timerfd_create");
  auto watched = loop.watch(clients->timer_.get(), EPOLLIN,
                            [raw = clients.get()](auto) { raw->on_timer(); });
  if (!watched) return pass(watched, "qmp");
  return clients;
}

Clients::~Clients() {
  assert(size() == 0);
  loop_.forget(timer_.get());
}

std::size_t Clients::size() const {
  const auto gone = std::count(clients_.begin(), clients_.end(), nullptr);
  return clients_.size() - static_cast<std::size_t>(gone);
}

void Clients::add(Client& client) {
  clients_.push_back(&client);
  wake_at(client.next_due());
}

void Clients::remove(const Client& client) {
  const auto found = std::find(clients_.begin(), clients_.end(), &client);
  if (is_going_through_) {
    *found = nullptr;
  } else {
    clients_.erase(found);
  }
}

// A timer that comes too soon costs less than one set at each request.
void Clients::wake_at(Instant due) {
  if (is_going_through_ || due >= armed_) return;
  set_timer(due);
}

void Clients::set_timer(Instant at) {
  armed_ = at;
  itimerspec setting{};  // zero: never
  if (at != Instant::max()) {
    const Duration since = std::max(at.time_since_epoch(), Duration{1});
    setting.it_value = to_timespec(since);
  }
  ++calls_.timers;
  // Fails for a wrong time only, of which there is none.
  (void)::timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &setting, nullptr);
}

void Clients::on_timer() {
  std::uint64_t ticks = 0;
  ++calls_.timers;
  (void)::read(timer_.get(), &ticks, sizeof(ticks));  // what it says is known
  const Instant now = monotonic_now();
  is_going_through_ = true;
  // By index: callbacks may add clients, and destroy them.
  for (std::size_t i = 0; i < clients_.size(); ++i)
    if (clients_[i] != nullptr && clients_[i]->next_due() <= now)
      clients_[i]->on_due(now);
  is_going_through_ = false;
  std::erase(clients_, nullptr);
  Instant next = Instant::max();
  for (const Client* client : clients_)
    next = std::min(next, client->next_due());
  armed_ = Instant::max();
  wake_at(next);
}

// --- Client: its owner's side
// -------------------------------------------------

Client::Client(Clients& clients, std::string path, Listener listener,
               const Limits& limits)
    : clients_(clients),
      path_(std::move(path)),
      listener_(std::move(listener)),
      session_(limits),
      told_(session_.state()) {}

Result<std::unique_ptr<Client>> Client::make(Clients& clients, std::string path,
                                             Listener listener,
                                             const Limits& limits) {
  auto checked = check_path(path);
  if (!checked) return tl::unexpected<Error>(std::move(checked.error()));
  std::unique_ptr<Client> client{
      new Client(clients, std::move(path), std::move(listener), limits)};
  clients.add(*client);
  return client;
}

Client::~Client() {
  if (destroyed_ != nullptr) *destroyed_ = true;
  drop_socket();
  clients_.remove(*this);
}

Result<RequestId> Client::ask(const Request& request,
                              OnCompletion on_completion) {
  auto asked = session_.ask(request, monotonic_now());
  if (!asked) return pass(asked, "qmp");
  asked_.emplace_back(*asked, std::move(on_completion));
  flush();
  clients_.wake_at(next_due());
  return asked;
}

Result<pid_t> Client::peer_pid() const {
  ucred peer{};
  socklen_t size = sizeof(peer);
  if (!fd_) return fail(ENOTCONN, "qmp: " + path_ + ": not connected");
  if (::getsockopt(fd_.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
    return fail(errno, "qmp: SO_PEERCRED");
  return peer.pid;
}

std::size_t Client::memory() const {
  return sizeof(*this) + session_.memory() - sizeof(session_) +
         asked_.capacity() * sizeof(asked_.front());
}

// --- Client: what happens
// -----------------------------------------------------

void Client::on_due(Instant now) {
  session_.due(now);
  advance(now);
}

void Client::on_ready(std::uint32_t epoll_events) {
  const Instant now = monotonic_now();
  if ((epoll_events & EPOLLOUT) != 0) flush();
  if ((epoll_events & ~std::uint32_t{EPOLLOUT}) != 0) receive(now);
  advance(now);
}

void Client::receive(Instant now) {
  ++clients_.calls_.receives;
  const ssize_t got = ::recv(fd_.get(), clients_.buffer_.data(),
                             clients_.buffer_.size(), MSG_DONTWAIT);
  if (got > 0) {
    session_.received({clients_.buffer_.data(), static_cast<std::size_t>(got)},
                      now);
  } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
    drop_socket();
    session_.closed(now);
  }
}

// False: a callback has destroyed this.
bool Client::take_outputs(Instant now) {
  while (auto output = session_.next(now))
    if (!deliver(*std::move(output))) return false;
  return tell_state();
}

bool Client::deliver(Output output) {
  bool destroyed = false;
  destroyed_ = &destroyed;
  if (const auto* event = std::get_if<Event>(&output)) {
    if (listener_.on_event) {
      const auto on_event = listener_.on_event;  // must outlive this
      on_event(*event);
    }
  } else {
    auto& completion = std::get<Completion>(output);
    const auto asked = std::find_if(
        asked_.begin(), asked_.end(),
        [&](const auto& each) { return each.first == completion.request; });
    assert(asked != asked_.end());
    const OnCompletion on_completion = std::move(asked->second);
    asked_.erase(asked);
    if (on_completion) on_completion(std::move(completion));
  }
  if (!destroyed) destroyed_ = nullptr;
  return !destroyed;
}

bool Client::tell_state() {
  const State before = std::exchange(told_, session_.state());
  if (before == told_ || !listener_.on_state) return true;
  bool destroyed = false;
  destroyed_ = &destroyed;
  const auto on_state = listener_.on_state;
  on_state(before, told_);
  if (!destroyed) destroyed_ = nullptr;
  return !destroyed;
}

// Tells what has come, and does what the session wants done until it wants no
// more.
void Client::advance(Instant now) {
  while (take_outputs(now)) {
    const Session::Step step = session_.step();
    if (step == Session::Step::kConnect) connect(now);
    if (step == Session::Step::kClose) {
      drop_socket();
      session_.closed(now);
    }
    if (step != Session::Step::kNothing) continue;
    flush();
    clients_.wake_at(next_due());
    return;
  }
}

// --- Client: the socket
// -------------------------------------------------------

void Client::connect(Instant now) {
  ++clients_.calls_.connects;
  auto opened = open_socket();
  if (opened) {
    session_.opened(now);
  } else {
    fd_ = Fd{};
    session_.failed(opened.error().code, now);
  }
}

Result<> Client::open_socket() {
  // A link may lead to libvirt's; one that leads nowhere fails below.
  std::error_code ignored;
  const auto resolved = std::filesystem::canonical(path_, ignored);
  if (is_libvirt_monitor(resolved.string())) return fail(EPERM, path_);
  fd_ = Fd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  if (!fd_) return fail(errno, "socket");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(static_cast<void*>(address.sun_path), path_.data(), path_.size());
  // A Unix socket is connected at once or not at all (unix(7)).
  if (::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&address),
                sizeof(address)) != 0)
    return fail(errno, "connect");
  auto watched = clients_.loop_.watch(
      fd_.get(), EPOLLIN, [this](std::uint32_t events) { on_ready(events); });
  if (!watched) return watched;
  watched_for_ = EPOLLIN;
  return {};
}

void Client::drop_socket() {
  if (watched_for_ != 0) clients_.loop_.forget(fd_.get());
  watched_for_ = 0;
  fd_ = Fd{};
}

// What the peer does not take is sent when it does. That it is gone is told by
// the loop, so that nothing ends within `ask`.
void Client::flush() {
  bool has_room = true;
  while (fd_ && has_room && !session_.unsent().empty()) {
    const std::string_view bytes = session_.unsent();
    ++clients_.calls_.sends;
    const ssize_t sent = ::send(fd_.get(), bytes.data(), bytes.size(),
                                MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent >= 0) {
      session_.sent(static_cast<std::size_t>(sent));
    } else if (errno != EINTR) {
      has_room = false;
    }
  }
  watch_for(has_room ? EPOLLIN : EPOLLIN | EPOLLOUT);
}

void Client::watch_for(std::uint32_t epoll_events) {
  if (watched_for_ == 0 || watched_for_ == epoll_events) return;
  // Fails only if the kernel has no memory; then it is told at the next turn.
  if (clients_.loop_.change(fd_.get(), epoll_events))
    watched_for_ = epoll_events;
}

}  // namespace outrider::qmp
