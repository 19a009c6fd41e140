// SPDX-License-Identifier: Apache-2.0
// What runs beside the guests of the demo: the controllers that Outrider is
// compared with, and the recorder that looks at all of them alike.
#include <fmt/core.h>

#include <array>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "agent/bpf_sensor.h"
#include "agent/sys/clock.h"
#include "bench/demo/control.h"
#include "bench/demo/demand_window.h"
#include "bench/demo/guests.h"
#include "bench/demo/record.h"

namespace outrider::demo {
namespace {

constexpr const char* kUsage =
    "usage: bench_demo control CONTROLLER MARGIN GUESTS\n"
    "       bench_demo record GUESTS CSV SOCKET\n"
    "       bench_demo hold\n"
    "CONTROLLER: static, reactive_1s, reactive_100ms, window_p95 or oracle.\n"
    "GUESTS: a file, see bench/demo/guests.h. `hold` keeps the scheduler's\n"
    "tracepoints in use, so that nobody who comes or goes changes the code of\n"
    "a running kernel. Each goes on until SIGTERM.\n";

struct Named {
  const char* name;
  Rule rule;
  Duration pace;
};
constexpr std::array kControllers = {
    Named{"static", Rule::kStatic, std::chrono::seconds{1}},
    Named{"reactive_1s", Rule::kReactive, std::chrono::seconds{1}},
    Named{"reactive_100ms", Rule::kReactive, std::chrono::milliseconds{100}},
    Named{"window_p95", Rule::kWindowP95, kTick},
    Named{"oracle", Rule::kOracle, Duration::zero()},
};

bool run_controller(const std::vector<std::string>& words) {
  for (const Named& named : kControllers) {
    if (words[1] != named.name) continue;
    const std::vector<Guest> guests = read_guests(words[3]);
    become_real_time(1);
    control(guests, Baseline{.rule = named.rule,
                             .pace = named.pace,
                             .margin = std::atof(words[2].c_str())});
    return true;
  }
  return false;
}

// Two, since the kernel calls one program in another way than several.
void hold() {
  std::array<std::unique_ptr<BpfSensor>, 2> sensors;
  for (auto& sensor : sensors) {
    auto made = BpfSensor::make(SensorOptions{.blame = false, .edges = false});
    if (!made) give_up(made.error().what);
    sensor = std::move(*made);
  }
  fmt::print("held\n");
  std::fflush(stdout);
  while (!is_told_to_stop())
    sleep_until(monotonic_now() + std::chrono::seconds{1});
}

bool dispatch(const std::vector<std::string>& words) {
  const std::string verb = words.empty() ? "" : words[0];
  catch_stop();
  if (verb == "control" && words.size() == 4) return run_controller(words);
  if (verb == "record" && words.size() == 4) {
    record(read_guests(words[1]), words[2], words[3]);
    return true;
  }
  if (verb != "hold" || words.size() != 1) return false;
  hold();
  return true;
}

}  // namespace
}  // namespace outrider::demo

int main(int count, char** arguments) {
  const std::vector<std::string> words(arguments + 1, arguments + count);
  if (outrider::demo::dispatch(words)) return 0;
  fmt::print(stderr, "{}", outrider::demo::kUsage);
  return 2;
}
