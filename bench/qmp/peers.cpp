// SPDX-License-Identifier: Apache-2.0
#include "bench/qmp/peers.h"

#include <fmt/core.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <filesystem>
#include <utility>

#include "agent/sys/clock.h"
#include "agent/sys/fd.h"

namespace outrider::bench {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::string_view kHello =
    "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, "
    "\"major\": 7}, \"package\": \"\"}, \"capabilities\": [\"oob\"]}}\r\n";
constexpr std::string_view kEvent =
    "{\"timestamp\": {\"seconds\": 1, \"microseconds\": 2}, "
    "\"event\": \"RTC_CHANGE\", \"data\": {\"offset\": 0}}\r\n";

/// The child: one thread that serves all of its peers.
class Server {
 public:
  Server(PeerManner manner, Duration delay)
      : manner_(manner), delay_(delay), loop_(EventLoop::make().value()) {}

  void listen_at(const std::string& path) {
    Fd fd{::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0)};
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
    const auto* const raw = reinterpret_cast<const sockaddr*>(&address);
    if (::bind(fd.get(), raw, sizeof(address)) != 0 ||
        ::listen(fd.get(), 16) != 0)
      ::_exit(1);
    (void)loop_.watch(fd.get(), EPOLLIN,
                      [this, raw_fd = fd.get()](auto) { accept(raw_fd); });
    listeners_.push_back(std::move(fd));
  }

  [[noreturn]] void run() {
    while (true) {
      const Instant now = monotonic_now();
      while (!later_.empty() && later_.front().due <= now) {
        send(later_.front().fd, later_.front().text);
        later_.pop_front();
      }
      (void)loop_.turn(later_.empty() ? Duration{-1}
                                      : later_.front().due - now);
    }
  }

 private:
  struct Later {
    Instant due;
    int fd = -1;
    std::string text;
  };

  void accept(int listener) {
    const int fd = ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK);
    if (fd < 0) return;
    (void)loop_.watch(fd, EPOLLIN, [this, fd](auto) { receive(fd); });
    if (manner_ != PeerManner::kSilent) send(fd, kHello);
  }

  static void send(int fd, std::string_view text) {
    (void)::send(fd, text.data(), text.size(), MSG_NOSIGNAL);
  }

  void receive(int fd) {
    std::array<char, 4096> bytes;
    const ssize_t got = ::recv(fd, bytes.data(), bytes.size(), 0);
    if (got <= 0) {
      loop_.forget(fd);
      std::erase_if(later_, [&](const Later& each) { return each.fd == fd; });
      ::close(fd);
      return;
    }
    // A client has one command out, which is short: it comes in one piece.
    const std::string_view command{bytes.data(), static_cast<std::size_t>(got)};
    const std::size_t at = command.rfind("\"id\":") + 5;
    const std::string id{command.substr(at, command.rfind('}') - at)};
    const bool negotiates =
        command.find("qmp_capabilities") != std::string_view::npos;
    if (!negotiates && manner_ != PeerManner::kPolite) return;
    const std::string value =
        negotiates ? "{}"
                   : R"({"status": "running", "singlestep": false, )"
                     R"("running": true})";
    answer(fd, R"({"return": )" + value + R"(, "id": )" + id + "}\r\n",
           negotiates ? Duration{} : delay_);
    if (negotiates && manner_ == PeerManner::kFloods) flood(fd);
    if (negotiates && manner_ == PeerManner::kSlow) drip(fd);
  }

  void answer(int fd, std::string text, Duration delay) {
    if (delay == Duration{}) return send(fd, text);
    later_.push_back({monotonic_now() + delay, fd, std::move(text)});
  }

  // Until the client has closed.
  void flood(int fd) {
    std::string many;
    for (int i = 0; i < 500; ++i) many += kEvent;
    (void)loop_.change(fd, EPOLLIN | EPOLLOUT);
    loop_.forget(fd);
    (void)loop_.watch(fd, EPOLLIN | EPOLLOUT, [this, fd, many](auto events) {
      if ((events & EPOLLOUT) != 0) send(fd, many);
      if ((events & ~std::uint32_t{EPOLLOUT}) != 0) receive(fd);
    });
  }

  void drip(int fd) {
    for (int i = 0; i < 60; ++i)
      later_.push_back({monotonic_now() + i * seconds(1), fd,
                        std::string(1, kEvent[static_cast<std::size_t>(i)])});
  }

  PeerManner manner_;
  Duration delay_;
  EventLoop loop_;
  std::vector<Fd> listeners_;
  std::deque<Later> later_;  // in the order of their times
};

}  // namespace

[[noreturn]] void give_up(const std::string& what) {
  fmt::print(stderr, "bench_qmp: {}\n", what);
  std::exit(1);
}

PeerProcess::PeerProcess(std::size_t count, PeerManner manner, Duration delay)
    : count_(count) {
  if (::mkdtemp(folder_.data()) == nullptr) give_up("mkdtemp");
  child_ = ::fork();
  if (child_ < 0) give_up("fork");
  if (child_ > 0) {
    const std::string ready = folder_ + "/ready";
    while (!std::filesystem::exists(ready)) ::usleep(1000);
    return;
  }
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  Server server{manner, delay};
  for (std::size_t i = 0; i < count; ++i) server.listen_at(path(i));
  std::filesystem::create_directory(folder_ + "/ready");
  server.run();
}

PeerProcess::~PeerProcess() {
  ::kill(child_, SIGKILL);
  ::waitpid(child_, nullptr, 0);
  std::filesystem::remove_all(folder_);
}

std::string PeerProcess::path(std::size_t index) const {
  return folder_ + "/" + std::to_string(index);
}

Crowd::Crowd(EventLoop& loop, const PeerProcess& peers,
             const qmp::Limits& limits)
    : loop_(loop), clients_(qmp::Clients::make(loop).value()) {
  for (std::size_t i = 0; i < peers.count(); ++i)
    all_.push_back(
        qmp::Client::make(*clients_, peers.path(i), {}, limits).value());
}

void Crowd::wait_for(qmp::State state) {
  const Instant give_up_at = monotonic_now() + seconds(10);
  const auto is_so = [&](const auto& each) { return each->state() == state; };
  while (!std::all_of(all_.begin(), all_.end(), is_so)) {
    if (monotonic_now() > give_up_at) give_up("peers do not become ready");
    (void)loop_.turn(milliseconds(20));
  }
}

std::vector<double> Crowd::ask_all() {
  answered_ms_.clear();
  const Instant start = monotonic_now();
  for (const auto& client : all_) {
    const auto asked = client->ask(
        qmp::query_status(), [this, start](Result<qmp::Status> status) {
          if (!status || !status->running) give_up("a wrong answer");
          const std::chrono::duration<double, std::milli> took =
              monotonic_now() - start;
          answered_ms_.push_back(took.count());
        });
    if (!asked) give_up(asked.error().what);
  }
  while (answered_ms_.size() < all_.size()) (void)loop_.turn(seconds(1));
  return answered_ms_;
}

void Crowd::try_ask_all() {
  for (const auto& client : all_)
    (void)client->ask(qmp::query_status(), [](Result<qmp::Status>) {});
}

}  // namespace outrider::bench
