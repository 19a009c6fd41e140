// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <string>

#include "agent/sys/clock.h"
#include "bench/qmp/measures.h"
#include "bench/qmp/peers.h"

namespace outrider::bench {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t kOthers = 63;
constexpr int kRounds = 40;  // a block

qmp::Limits limits() {
  qmp::Limits limits;
  limits.request = milliseconds(800);
  limits.greeting = milliseconds(800);
  return limits;
}

struct Block {
  double calls = 0;   // of the 63, a round
  double cpu_us = 0;  // of this thread, a round
  double p99_ms = 0;  // from the asking of all to an answer
};

/// 63 and the odd one, on one loop.
struct Side {
  Side(EventLoop& loop, const PeerProcess& others, const PeerProcess& odd)
      : many(loop, others, limits()), one(loop, odd, limits()) {
    many.wait_for(qmp::State::kReady);
  }

  Block run() {
    Block block;
    std::vector<double> lateness;
    const qmp::Calls before = many.calls();
    const Duration cpu = thread_cpu_time();
    for (int round = 0; round < kRounds; ++round) {
      one.try_ask_all();
      for (const double ms : many.ask_all()) lateness.push_back(ms);
    }
    const qmp::Calls after = many.calls();
    block.cpu_us =
        std::chrono::duration<double, std::micro>(thread_cpu_time() - cpu)
            .count() /
        kRounds;
    block.calls =
        static_cast<double>(after.sends + after.receives + after.connects -
                            before.sends - before.receives - before.connects) /
        kRounds;
    block.p99_ms = quantile(lateness, 0.99);
    return block;
  }

  Crowd many;
  Crowd one;
};

// How long a peer that is asked and does not answer counts as ready.
double flagged_ms(EventLoop& loop, Side& side) {
  const Instant start = monotonic_now();
  side.one.try_ask_all();
  while (side.one.client(0).state() == qmp::State::kReady ||
         side.one.client(0).state() == qmp::State::kConnecting)
    (void)loop.turn(milliseconds(5));
  return std::chrono::duration<double, std::milli>(monotonic_now() - start)
      .count();
}

struct Odd {
  std::string name;
  PeerManner manner;
};

void measure(const Odd& odd, int quads, std::vector<Figure>& figures) {
  const PeerProcess others{kOthers, PeerManner::kPolite, Duration{}};
  const PeerProcess same_others{kOthers, PeerManner::kPolite, Duration{}};
  const PeerProcess polite{1, PeerManner::kPolite, Duration{}};
  const PeerProcess bad{1, odd.manner, Duration{}};
  EventLoop loop = EventLoop::make().value();
  Side a{loop, others, polite};
  Side b{loop, same_others, bad};
  const double flagged = flagged_ms(loop, b);
  std::vector<double> calls, cpu, p99;
  for (int quad = 0; quad < quads; ++quad) {
    const std::array<Block, 4> blocks{a.run(), b.run(), b.run(), a.run()};
    const auto ratio = [&](double Block::*figure) {
      return (blocks[1].*figure + blocks[2].*figure) /
             (blocks[0].*figure + blocks[3].*figure);
    };
    calls.push_back(ratio(&Block::calls));
    cpu.push_back(ratio(&Block::cpu_us));
    p99.push_back(ratio(&Block::p99_ms));
  }
  const std::string beside = "63 beside a polite one";
  for (Figure figure : {figure_of(odd.name + ".calls", "x", calls, 1.001),
                        figure_of(odd.name + ".cpu", "x", cpu, 1.2),
                        figure_of(odd.name + ".p99", "x", p99, 1.2)}) {
    figure.yardstick = beside;
    figures.push_back(std::move(figure));
  }
  Figure flag = figure_of(odd.name + ".flagged", "ms", {flagged}, 1000);
  flag.yardstick = "a deadline of 800 ms";
  figures.push_back(std::move(flag));
}

}  // namespace

std::vector<Figure> measure_isolation(int quads) {
  std::vector<Figure> figures;
  for (const Odd& odd :
       {Odd{"hung", PeerManner::kHung}, Odd{"silent", PeerManner::kSilent},
        Odd{"slow", PeerManner::kSlow}, Odd{"floods", PeerManner::kFloods}})
    measure(odd, quads, figures);
  return figures;
}

}  // namespace outrider::bench
