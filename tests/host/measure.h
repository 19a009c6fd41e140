// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sched.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "agent/base/units.h"

namespace outrider {

inline double ms(Duration duration) {
  return static_cast<double>(duration.count()) / 1e6;
}

/// Above what else runs on this machine: it measures.
inline void prioritise() {
  const sched_param param{.sched_priority = 1};
  if (::sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &param) != 0) {
    std::perror("SCHED_FIFO");
    std::exit(1);
  }
}

struct Spread {
  Duration p50{};
  Duration p99{};
  Duration max{};
};
inline Spread spread_of(std::vector<Duration> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const std::size_t n = values.size();
  return {values[n / 2], values[std::min(n - 1, n * 99 / 100)], values[n - 1]};
}

}  // namespace outrider
