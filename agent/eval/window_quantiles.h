// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <vector>

namespace outrider::eval {

/// What the methods with a quantile as their knob are swept over.
inline constexpr std::array<double, 11> kTaus = {
    0.5, 0.7, 0.8, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99, 0.995, 0.998};

/// Exact quantiles of the last `size` values, at the rank that holds the share
/// for exchangeable values: ceil((n + 1) tau) of n (split conformal).
class WindowQuantiles {
 public:
  explicit WindowQuantiles(std::size_t size) : size_(size) {}

  void add(double value);
  /// Shape: one a tau of kTaus. All 0 until there are 8 values.
  void read(std::span<double, kTaus.size()> quantiles) const;

 private:
  std::size_t size_;
  std::size_t next_ = 0;
  std::vector<double> ring_;
  std::vector<double> sorted_;
};

}  // namespace outrider::eval
