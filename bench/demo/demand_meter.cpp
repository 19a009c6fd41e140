// SPDX-License-Identifier: Apache-2.0
#include "bench/demo/demand_meter.h"

#include "agent/proc.h"
#include "agent/sys/clock.h"

namespace outrider::demo {

DemandMeter::DemandMeter(const std::vector<Guest>& guests)
    : windows_(guests.size()) {
  auto sensor = BpfSensor::make(SensorOptions{.blame = false, .edges = false});
  if (!sensor) give_up(sensor.error().what);
  sensor_ = std::move(*sensor);
  auto proc = ProcRoot::open();
  if (!proc) give_up(proc.error().what);
  for (std::size_t i = 0; i < guests.size(); ++i) {
    const VmId vm{static_cast<std::uint32_t>(i + 1)};
    auto opened = sensor_->slots().open(vm, guests[i].pid);
    if (!opened) give_up(opened.error().what);
    auto tasks = list_tasks(*proc, guests[i].pid);
    if (!tasks) give_up(tasks.error().what);
    for (const pid_t tid : *tasks) {
      if (!sensor_->slots().adopt(vm, tid, ThreadClass::kEmulator))
        give_up("no slot for a thread of " + guests[i].name);
    }
  }
}

void DemandMeter::read() {
  sensor_->take_events([](const SensorEvent&) {});
  const Demand& demand = series_.update(sensor_->read(monotonic_now()));
  for (const VmDemand& vm : demand.vms) {
    windows_[static_cast<std::uint32_t>(vm.id) - 1].add(vm.total.demand);
  }
}

}  // namespace outrider::demo
