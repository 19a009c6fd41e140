// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <vector>

#include "agent/bpf_sensor.h"
#include "agent/core/demand.h"
#include "bench/demo/demand_window.h"
#include "bench/demo/guests.h"

namespace outrider::demo {

/// The eyes of a baseline: Outrider's own sensor and estimator.
class DemandMeter {
 public:
  explicit DemandMeter(const std::vector<Guest>& guests);
  /// To be called each tick.
  void read();
  const DemandWindow& window(std::size_t guest) const {
    return windows_[guest];
  }

 private:
  std::unique_ptr<BpfSensor> sensor_;
  DemandSeries series_;
  std::vector<DemandWindow> windows_;
};

}  // namespace outrider::demo
