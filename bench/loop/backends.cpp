// SPDX-License-Identifier: Apache-2.0
#include "bench/loop/backends.h"

#include <sys/epoll.h>

#include <cstdio>
#include <random>
#include <string>

#include "agent/sys/clock.h"
#include "agent/sys/event_loop.h"
#include "bench/loop/crowd.h"

namespace outrider::bench {
namespace {

constexpr int kQuads = 25;
constexpr int kCallsPerBlock = 30;

class Backends {
 public:
  explicit Backends(Crowd& crowd) : crowd_(crowd) {}
  /// The us of each call of a block are added to `latency_us`.
  Result<> run_block(EventLoop& loop, std::vector<double>& latency_us);

 private:
  Crowd& crowd_;
  std::mt19937 random_{1};
};

// Watched for this block alone: who does not wait must not be woken.
Result<> Backends::run_block(EventLoop& loop, std::vector<double>& latency_us) {
  const std::size_t wanted = latency_us.size() + kCallsPerBlock;
  const std::function<void(Instant)> on_ping = [&](Instant at) {
    latency_us.push_back(
        std::chrono::duration<double, std::micro>(monotonic_now() - at)
            .count());
  };
  auto watched = loop.watch(crowd_.event_fd(), EPOLLIN,
                            [&](std::uint32_t) { crowd_.take_pings(on_ping); });
  if (!watched) return pass(watched, "back-end");
  // Not in step with the kernel's tick.
  std::uniform_int_distribution<int> pause_us(200, 1500);
  while (latency_us.size() < wanted) {
    const std::size_t before = latency_us.size();
    crowd_.ask_for_ping(monotonic_now() +
                        std::chrono::microseconds{pause_us(random_)});
    while (latency_us.size() == before) {
      auto turned = loop.turn(std::chrono::milliseconds{20});
      if (!turned) return pass(turned, "back-end");
    }
  }
  loop.forget(crowd_.event_fd());
  return {};
}

std::vector<Figure> figures_of(const std::vector<double>& epoll_us,
                               const std::vector<double>& uring_us,
                               const std::vector<double>& ratios) {
  const std::string of =
      std::to_string(epoll_us.size()) + " calls, ring to handler";
  std::vector<Figure> figures;
  const auto add = [&](const char* name, const std::vector<double>& us,
                       double q) {
    figures.push_back(figure_of(name, "us", us, 0));
    figures.back().value = quantile(us, q);
    figures.back().yardstick = of;
  };
  add("epoll_p50", epoll_us, 0.5);
  add("epoll_p99", epoll_us, 0.99);
  add("io_uring_p50", uring_us, 0.5);
  add("io_uring_p99", uring_us, 0.99);
  figures.push_back(figure_of("io_uring_over_epoll", "x", ratios, 0));
  figures.back().yardstick =
      "medians of " + std::to_string(ratios.size()) + " A-B-B-A";
  return figures;
}

}  // namespace

Result<std::vector<Figure>> measure_backends() {
  fprintf(stderr, "loop: epoll and io_uring ...\n");
  auto epoll = EventLoop::make(EventBackend::kEpoll);
  if (!epoll) return pass(epoll, "back-end");
  auto uring = EventLoop::make(EventBackend::kIoUring);
  if (!uring) return pass(uring, "back-end");
  if (uring->backend() != EventBackend::kIoUring) {
    fprintf(stderr, "loop: no comparison: %s\n", uring->refusal().c_str());
    return std::vector<Figure>{};
  }
  auto crowd = Crowd::start();
  if (!crowd) return pass(crowd, "back-end");
  Backends backends(**crowd);
  std::vector<double> all_epoll;
  std::vector<double> all_uring;
  std::vector<double> ratios;
  for (int i = 0; i < kQuads; ++i) {
    std::vector<double> epoll_us;
    std::vector<double> uring_us;
    for (const bool is_uring : {false, true, true, false}) {
      auto ran = is_uring ? backends.run_block(*uring, uring_us)
                          : backends.run_block(*epoll, epoll_us);
      if (!ran) return pass(ran, "back-end");
    }
    ratios.push_back(median(uring_us) / median(epoll_us));
    all_epoll.insert(all_epoll.end(), epoll_us.begin(), epoll_us.end());
    all_uring.insert(all_uring.end(), uring_us.begin(), uring_us.end());
  }
  return figures_of(all_epoll, all_uring, ratios);
}

}  // namespace outrider::bench
