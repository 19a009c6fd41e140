// SPDX-License-Identifier: Apache-2.0
#include "bench/demo/record.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>

#include "agent/sys/clock.h"
#include "bench/demo/reserves.h"

namespace outrider::demo {
namespace {

constexpr Duration kLook = std::chrono::milliseconds{10};
// cpu.stat makes the kernel sum up over processors: less often.
constexpr int kLooksPerThrottling = 10;
constexpr int kLooksPerReserve = 5;

struct Watched {
  explicit Watched(const Guest& guest)
      : facts(guest), cpu_max(guest), throttling(guest), vcpu(guest) {}
  const Guest& facts;
  CpuMaxFile cpu_max;
  ThrottlingFile throttling;
  VcpuTimeFiles vcpu;
  Throttling throttled;
  std::uint64_t writes = 0;
};

/// Counts the writes of each guest's cpu.max, whoever makes them.
class WriteCounter {
 public:
  explicit WriteCounter(std::vector<Watched>& all)
      : fd_(inotify_init1(IN_CLOEXEC | IN_NONBLOCK)) {
    for (Watched& guest : all) {
      const int watch =
          inotify_add_watch(fd_.get(), guest.facts.cgroup.c_str(), IN_MODIFY);
      if (watch < 0) give_up("inotify: " + guest.facts.cgroup);
      by_watch_[watch] = &guest;
    }
  }
  // At once, as the kernel makes one of two equal events that wait.
  void count_until(Instant when) {
    for (;;) {
      const Duration left = when - monotonic_now();
      if (left <= Duration::zero()) return;
      const timespec patience{.tv_sec = 0, .tv_nsec = left.count()};
      pollfd wait{.fd = fd_.get(), .events = POLLIN, .revents = 0};
      if (ppoll(&wait, 1, &patience, nullptr) <= 0) return;
      take();
    }
  }

 private:
  void take() {
    alignas(inotify_event) std::array<char, 8192> bytes{};
    const ssize_t got = ::read(fd_.get(), bytes.data(), bytes.size());
    for (ssize_t at = 0; at < got;) {
      const auto* event =
          reinterpret_cast<const inotify_event*>(bytes.data() + at);
      if (event->len > 0 && std::strcmp(event->name, "cpu.max") == 0)
        ++by_watch_.at(event->wd)->writes;
      at += static_cast<ssize_t>(sizeof(inotify_event) + event->len);
    }
  }

  Fd fd_;
  std::map<int, Watched*> by_watch_;
};

std::string heading(const std::vector<Guest>& guests) {
  std::string text = "t_us";
  for (const Guest& guest : guests) {
    for (const char* column : {"cap", "writes", "run_us", "wait_us",
                               "throttled_us", "throttled", "reserve"})
      text += fmt::format(",{}.{}", guest.name, column);
  }
  return text + '\n';
}

void look(std::vector<Watched>& all, const Reserves& reserves,
          std::string& out) {
  const Duration now = monotonic_now().time_since_epoch();
  auto put = std::back_inserter(out);
  fmt::format_to(put, "{}", now / std::chrono::microseconds{1});
  for (const Watched& guest : all) {
    const VcpuTime vcpu = guest.vcpu.read();
    fmt::format_to(put, ",{},{},{},{},{},{},{}", guest.cpu_max.read().count(),
                   guest.writes, vcpu.run_ns / 1000, vcpu.wait_ns / 1000,
                   guest.throttled.us, guest.throttled.times,
                   reserves.not_lent(guest.facts.name).count());
  }
  out += '\n';
}

}  // namespace

void record(const std::vector<Guest>& guests, const std::string& path,
            const std::string& socket) {
  std::vector<Watched> all;
  all.reserve(guests.size());
  for (const Guest& guest : guests) all.emplace_back(guest);
  WriteCounter writes(all);
  Reserves reserves(socket);
  std::string text = heading(guests);
  text.reserve(std::size_t{4} << 20);
  become_real_time(2);
  Instant next = monotonic_now();
  for (int looks = 0; !is_told_to_stop(); ++looks) {
    if (looks % kLooksPerThrottling == 0) {
      for (Watched& guest : all) guest.throttled = guest.throttling.read();
    }
    if (looks % kLooksPerReserve == 0) reserves.ask();
    reserves.take_answer();
    look(all, reserves, text);
    // At least half of the time is left to others, however slow the machine.
    next = std::max(next + kLook, monotonic_now() + kLook / 2);
    writes.count_until(next);
  }
  std::ofstream(path) << text;
}

}  // namespace outrider::demo
