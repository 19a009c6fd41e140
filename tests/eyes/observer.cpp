// SPDX-License-Identifier: Apache-2.0
#include "tests/eyes/observer.h"

#include <fmt/core.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>

#include "agent/sys/clock.h"

namespace outrider::check {
namespace {

bool all_held = true;

void sleep_until(Instant when) {
  const auto since_boot = when.time_since_epoch();
  const timespec until{.tv_sec = since_boot / std::chrono::seconds{1},
                       .tv_nsec = since_boot % std::chrono::seconds{1} /
                                  std::chrono::nanoseconds{1}};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr) !=
         0) {
  }
}

ProcRoot open_proc() {
  auto proc = ProcRoot::open();
  if (!proc) give_up(proc.error().what);
  return std::move(*proc);
}

bool is_stopped(const ProcRoot& proc, pid_t pid, pid_t tid) {
  auto text =
      read_text_at(proc.fd(), fmt::format("{}/task/{}/stat", pid, tid), 4096);
  if (!text) return true;  // it ended
  const auto stat = parse_stat(*text);
  return stat && stat->state == 'T';
}

}  // namespace

void give_up(const std::string& what) {
  fmt::print(stderr, "eyes_check: {}\n", what);
  exit(2);
}

void blame_guest(const std::string& what) {
  fmt::print(stderr, "eyes_check: the guest {}\n", what);
  exit(3);
}

std::unique_ptr<Agent> start_agent(const std::string& journal) {
  Config config;
  config.journal.enabled = !journal.empty();
  config.journal.directory = journal;
  config.predictive.enabled = config.journal.enabled;
  config.predictive.directory = journal + "-rollups";
  config.loop_priority = 0;  // this program also waits for others
  config.log_level = LogLevel::kWarning;
  start_log(config.log_level);
  auto agent = Agent::make(config);
  if (!agent) give_up(agent.error().what);
  return std::move(*agent);
}

void turn_for(Agent& agent, Duration time) {
  const Instant end = monotonic_now() + time;
  while (monotonic_now() < end) {
    auto turned = agent.events().turn(std::chrono::milliseconds{5});
    if (!turned) give_up(turned.error().what);
  }
}

Observer::Observer(std::span<const pid_t> pids) {
  auto sensor = BpfSensor::make(SensorOptions{});
  if (!sensor) give_up(sensor.error().what);
  sensor_ = std::move(*sensor);
  const ProcRoot proc = open_proc();
  std::uint32_t id = 0;
  for (const pid_t pid : pids) {
    const VmId vm{++id};
    Slots& slots = sensor_->slots();
    auto opened = slots.open(vm, pid);
    if (!opened) give_up(opened.error().what);
    (void)slots.adopt(vm, pid, ThreadClass::kEmulator);
    auto tasks = list_tasks(proc, pid);
    if (!tasks) give_up(tasks.error().what);
    for (const pid_t tid : *tasks) {
      if (!slots.adopt(vm, tid, ThreadClass::kEmulator)) give_up("no slot");
    }
  }
}

const Sample& Observer::read_at(Instant when) {
  sleep_until(when);
  sensor_->take_events([](const SensorEvent&) {});
  return sensor_->read(monotonic_now());
}

const Sample& Observer::read_after(Duration pause) {
  return read_at(monotonic_now() + pause);
}

void report(const std::string& name, double value, const std::string& limit,
            bool holds) {
  fmt::print("{:<44} {:>12.4f}  {:<22} {}\n", name, value, limit,
             holds ? "ok" : "FAILS");
  if (!holds) all_held = false;
}

int verdict() {
  fflush(stdout);
  return all_held ? 0 : 1;
}

void stop_process(pid_t pid) {
  if (kill(pid, SIGSTOP) != 0) give_up("stop: no such process");
  const ProcRoot proc = open_proc();
  for (int i = 0; i < 1000; ++i) {
    auto tasks = list_tasks(proc, pid);
    bool all = true;
    for (const pid_t tid : *tasks) all = all && is_stopped(proc, pid, tid);
    if (all) return;
    usleep(2000);
  }
  give_up("a thread does not stop");
}

void continue_process(pid_t pid) { kill(pid, SIGCONT); }

}  // namespace outrider::check
