// SPDX-License-Identifier: Apache-2.0
// Every context switch and wake-up of two recorded hosts, through a reference
// state machine to Samples every 10 ms, to Demand.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "agent/core/demand.h"

namespace outrider {
namespace {

constexpr std::int64_t kInterval = 10'000'000;
constexpr std::int64_t kCpus = 8;  // of both recordings

struct Event {
  std::int64_t at_ns = 0;
  std::uint32_t prev = 0;  // switched out; 0 is the idle task
  std::uint32_t next = 0;
  std::uint32_t woken = 0;
  bool is_switch = false;
  char prev_state = '?';
};

struct ClosePipe {
  void operator()(std::FILE* pipe) const { ::pclose(pipe); }
};

std::filesystem::path trace_file(const char* name) {
  const char* root = std::getenv("OUTRIDER_TRACES");
  const std::filesystem::path folder =
      root != nullptr ? std::filesystem::path(root)
                      : std::filesystem::path(OUTRIDER_SOURCE_DIR) / ".." /
                            "shared" / "traces";
  return folder / "sched-events" / name;
}

std::uint32_t number(std::string_view text) {
  std::uint32_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

std::array<std::string_view, 8> split(std::string_view line) {
  std::array<std::string_view, 8> cells;
  for (std::string_view& cell : cells) {
    const std::size_t comma = std::min(line.find(','), line.size());
    cell = line.substr(0, comma);
    line.remove_prefix(std::min(comma + 1, line.size()));
  }
  return cells;
}

Event parse(std::string_view line) {
  const auto cells = split(line);
  Event event;
  std::from_chars(cells[0].data(), cells[0].data() + cells[0].size(),
                  event.at_ns);
  event.is_switch = cells[2] == "switch";
  event.prev = number(cells[3]);
  event.prev_state = cells[4].empty() ? '?' : cells[4].front();
  event.next = number(cells[5]);
  event.woken = number(cells[6]);
  return event;
}

std::vector<Event> read_events(const std::filesystem::path& file) {
  const std::string command = "gzip -dc '" + file.string() + "'";
  const std::unique_ptr<std::FILE, ClosePipe> pipe(
      ::popen(command.c_str(), "r"));
  std::vector<Event> events;
  std::array<char, 256> line{};
  std::fgets(line.data(), line.size(), pipe.get());  // the names of columns
  while (std::fgets(line.data(), line.size(), pipe.get()) != nullptr) {
    events.push_back(parse(line.data()));
  }
  std::ranges::stable_sort(events, {}, &Event::at_ns);
  return events;
}

/// What the kernel side keeps for a thread, written plainly.
class Reference {
 public:
  void apply(const Event& event) {
    if (!event.is_switch) return wake(event.woken, event.at_ns);
    switch_out(event);
    switch_in(event.next, event.at_ns);
  }

  /// All threads so far as the threads of one VM.
  Sample sample(std::int64_t now) {
    Sample out;
    out.taken = Instant{Duration{now}};
    for (auto& [tid, thread] : threads_) {
      advance(thread, now);
      out.threads.push_back(thread.seen);
    }
    out.vms.push_back(
        {.id = VmId{1},
         .thread_count = static_cast<std::uint32_t>(out.threads.size())});
    return out;
  }

 private:
  struct Thread {
    ThreadSample seen;
    std::int64_t since = 0;
  };

  Thread& find(std::uint32_t tid, std::int64_t now) {
    Thread& thread = threads_[tid];
    thread.seen.id = ThreadId{tid};
    thread.seen.tid = tid;
    thread.seen.vm = VmId{1};
    advance(thread, now);
    return thread;
  }

  static void advance(Thread& thread, std::int64_t now) {
    const auto passed = static_cast<std::uint64_t>(now - thread.since);
    if (thread.seen.state == ThreadState::kRunning) {
      thread.seen.run_ns += passed;
      thread.seen.open_run_ns += passed;
    } else if (thread.seen.state == ThreadState::kWaiting) {
      thread.seen.wait_ns += passed;
      thread.seen.open_wait_ns += passed;
    }
    thread.since = now;
  }

  void wake(std::uint32_t tid, std::int64_t now) {
    ThreadSample& seen = find(tid, now).seen;
    if (seen.state == ThreadState::kRunning) return;
    if (seen.state != ThreadState::kWaiting) ++seen.wakeups;
    seen.state = ThreadState::kWaiting;
  }

  void switch_out(const Event& event) {
    if (event.prev == 0) return;
    ThreadSample& seen = find(event.prev, event.at_ns).seen;
    if (event.prev_state == '0' || event.prev_state == 'R') {
      seen.state = ThreadState::kWaiting;
      return;
    }
    seen.state = ThreadState::kSleeping;
    seen.open_run_ns = seen.open_wait_ns = 0;
  }

  void switch_in(std::uint32_t tid, std::int64_t now) {
    if (tid == 0) return;
    find(tid, now).seen.state = ThreadState::kRunning;
  }

  std::map<std::uint32_t, Thread> threads_;
};

struct TraceTotals {
  double net_ns = 0;  // demand - overcounted
  double run_ns = 0;
  std::int64_t wait = 0;
  int intervals = 0;
};

void check_interval(const Demand& demand, TraceTotals& totals) {
  for (const VmDemand& vm : demand.vms) {
    EXPECT_LE(vm.total.usage.count(), 1000 * kCpus + 1);
    EXPECT_GE(vm.total.demand, vm.total.open_wait);
    EXPECT_LE(vm.total.demand.count(), 1000 * vm.thread_count);
    const double per_milli = static_cast<double>(demand.interval.count()) / 1e3;
    totals.run_ns += static_cast<double>(vm.total.usage.count()) * per_milli;
    totals.net_ns +=
        static_cast<double>((vm.total.demand - vm.total.overcounted).count()) *
        per_milli;
    totals.wait += vm.total.wait.count();
    ++totals.intervals;
  }
}

TraceTotals replay(const std::vector<Event>& events) {
  Reference reference;
  DemandSeries series;
  TraceTotals totals;
  std::int64_t next = events.front().at_ns + kInterval;
  for (const Event& event : events) {
    for (; event.at_ns >= next; next += kInterval) {
      check_interval(series.update(reference.sample(next)), totals);
    }
    reference.apply(event);
  }
  return totals;
}

class DemandOfTrace : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(SchedEvents, DemandOfTrace,
                         testing::Values("many-threads.csv.gz",
                                         "rtapp.csv.gz"));

TEST_P(DemandOfTrace, NeverRunsMoreThanThereAreCpus) {
  const std::filesystem::path file = trace_file(GetParam());
  if (!std::filesystem::exists(file)) {
    GTEST_SKIP() << file << " is not here; set OUTRIDER_TRACES";
  }
  const std::vector<Event> events = read_events(file);
  ASSERT_GT(events.size(), 1000U);
  const TraceTotals totals = replay(events);
  EXPECT_GT(totals.intervals, 30);
  EXPECT_GT(totals.run_ns, 0);
  // What was wanted is what ran, but for periods open at the start and end.
  EXPECT_NEAR(totals.net_ns, totals.run_ns,
              0.05 * totals.run_ns + 8 * kInterval);
  std::printf("%s: %d intervals, ran %.1f ms, wanted %.1f ms\n", GetParam(),
              totals.intervals, totals.run_ns / 1e6, totals.net_ns / 1e6);
}

}  // namespace
}  // namespace outrider
