// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace outrider::sim {

/// SplitMix64: the same figures from the same seed, with every library.
/// Source: Steele, Lea and Flood, Fast Splittable Pseudorandom Number
/// Generators, OOPSLA 2014.
class SimRandom {
 public:
  explicit SimRandom(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next() {
    state_ += 0x9e3779b97f4a7c15U;
    std::uint64_t mixed = state_;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9U;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebU;
    return mixed ^ (mixed >> 31);
  }
  /// 0..n-1; `n` is above 0.
  std::int64_t below(std::int64_t n) {
    return static_cast<std::int64_t>(next() % static_cast<std::uint64_t>(n));
  }
  bool hits(std::int64_t permille) { return below(1000) < permille; }

 private:
  std::uint64_t state_;
};

}  // namespace outrider::sim
