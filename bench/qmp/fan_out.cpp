// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "bench/qmp/measures.h"
#include "bench/qmp/peers.h"

namespace outrider::bench {

std::vector<Figure> measure_fan_out(int quads) {
  constexpr int kRounds = 10;  // a block
  // What a round trip is made of then: the ratio is the library's own.
  constexpr Duration kDelay = std::chrono::milliseconds(5);
  const PeerProcess one_peer{1, PeerManner::kPolite, kDelay};
  const PeerProcess peers{100, PeerManner::kPolite, kDelay};
  EventLoop loop = EventLoop::make().value();
  Crowd one{loop, one_peer, {}};
  Crowd all{loop, peers, {}};
  one.wait_for(qmp::State::kReady);
  all.wait_for(qmp::State::kReady);
  const auto block = [](Crowd& crowd) {
    std::vector<double> rounds;
    for (int i = 0; i < kRounds; ++i) {
      const std::vector<double> ms = crowd.ask_all();
      rounds.push_back(*std::max_element(ms.begin(), ms.end()));
    }
    return median(rounds);
  };
  std::vector<double> ratios, alone;
  for (int quad = 0; quad < quads; ++quad) {
    const double first = block(one);
    const double many = block(all) + block(all);
    const double second = block(one);
    ratios.push_back(many / (first + second));
    alone.push_back((first + second) / 2);
  }
  Figure ratio = figure_of("fan_out.100", "x", ratios, 2);
  ratio.yardstick = "one peer's round trip";
  Figure base = figure_of("fan_out.one", "ms", alone, 0);
  base.yardstick = "5 ms are the peer's";
  return {ratio, base};
}

}  // namespace outrider::bench
