// SPDX-License-Identifier: Apache-2.0
#include "agent/eval/window_quantiles.h"

#include <algorithm>
#include <cmath>

namespace outrider::eval {
namespace {

constexpr std::size_t kValuesMin = 8;

}  // namespace

void WindowQuantiles::add(double value) {
  if (ring_.size() < size_) {
    ring_.push_back(value);
  } else {
    sorted_.erase(
        std::lower_bound(sorted_.begin(), sorted_.end(), ring_[next_]));
    ring_[next_] = value;
  }
  next_ = (next_ + 1) % size_;
  sorted_.insert(std::upper_bound(sorted_.begin(), sorted_.end(), value),
                 value);
}

void WindowQuantiles::read(std::span<double, kTaus.size()> quantiles) const {
  const std::size_t count = sorted_.size();
  for (std::size_t i = 0; i < kTaus.size(); ++i) {
    const auto rank = static_cast<std::size_t>(
        std::ceil(static_cast<double>(count + 1) * kTaus[i]));
    quantiles[i] = count < kValuesMin ? 0 : sorted_[std::min(rank, count) - 1];
  }
}

}  // namespace outrider::eval
