// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <bit>
#include <cstdint>

#include "agent/base/units.h"

namespace outrider {

/// How long something took, over and over: buckets of an eighth of a power of
/// two, so a quantile is at most 12.5 % too high. Allocates nothing.
/// Invariant: count() is the sum of the buckets.
class LatencyHistogram {
 public:
  void add(Duration took) {
    const auto ns =
        static_cast<std::uint64_t>(took.count() < 0 ? 0 : took.count());
    ++buckets_[bucket_of(ns)];
    ++count_;
    last_ = took;
  }
  std::uint64_t count() const { return count_; }
  Duration last() const { return last_; }

  /// The upper edge of the bucket that holds it; 0 without any.
  Duration quantile(std::uint64_t permille) const {
    std::uint64_t left = (count_ * permille + 999) / 1000;
    for (std::size_t i = 0; i < kBuckets; ++i) {
      if (left <= buckets_[i]) return count_ == 0 ? Duration{} : edge_of(i);
      left -= buckets_[i];
    }
    return {};
  }

 private:
  static constexpr std::size_t kParts = 8;              // of a power of two
  static constexpr std::size_t kBuckets = 40 * kParts;  // to 18 minutes

  static std::size_t bucket_of(std::uint64_t ns) {
    if (ns < kParts) return ns;
    const auto power = static_cast<std::size_t>(std::bit_width(ns)) - 1;
    const std::size_t part = (ns >> (power - 3)) & (kParts - 1);
    const std::size_t bucket = (power - 2) * kParts + part;
    return bucket < kBuckets ? bucket : kBuckets - 1;
  }
  static Duration edge_of(std::size_t bucket) {
    if (bucket < kParts) return Duration{static_cast<std::int64_t>(bucket)};
    const std::size_t power = bucket / kParts + 2;
    const std::uint64_t part = bucket % kParts + 1;
    return Duration{static_cast<std::int64_t>((std::uint64_t{1} << power) +
                                              (part << (power - 3)))};
  }

  std::array<std::uint64_t, kBuckets> buckets_{};
  std::uint64_t count_ = 0;
  Duration last_{};
};

}  // namespace outrider
