// SPDX-License-Identifier: Apache-2.0
// Run and wait of every thread against /proc/TID/schedstat, both read while the
// process is stopped: a running thread's schedstat lags by up to a tick.
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "agent/sys/clock.h"
#include "tests/eyes/checks.h"
#include "tests/eyes/observer.h"

namespace outrider::check {
namespace {

struct Books {
  std::uint64_t run_ns = 0;
  std::uint64_t wait_ns = 0;
};
using ByThread = std::map<std::uint32_t, Books>;

ByThread kernels_books(const ProcRoot& proc, std::span<const pid_t> pids) {
  ByThread books;
  for (const pid_t pid : pids) {
    auto tasks = list_tasks(proc, pid);
    if (!tasks) give_up(tasks.error().what);
    for (const pid_t tid : *tasks) {
      auto text = read_text_at(
          proc.fd(), fmt::format("{}/task/{}/schedstat", pid, tid), 256);
      const auto stat = text ? parse_schedstat(*text) : std::nullopt;
      if (stat) {
        books[static_cast<std::uint32_t>(tid)] = {stat->run_ns, stat->wait_ns};
      }
    }
  }
  return books;
}

ByThread our_books(const Sample& sample) {
  ByThread books;
  for (const ThreadSample& thread : sample.threads) {
    if (thread.state == ThreadState::kUnknown) continue;
    books[thread.tid] = {thread.run_ns, thread.wait_ns};
  }
  return books;
}

// What ran in the interval can never be more than there was to run on.
void check_total(const Sample& before, const Sample& now, long cpus,
                 double& worst) {
  std::map<ThreadId, std::uint64_t> ran;
  for (const ThreadSample& thread : before.threads) {
    if (thread.state != ThreadState::kUnknown) ran[thread.id] = thread.run_ns;
  }
  double total = 0;
  for (const ThreadSample& thread : now.threads) {
    const auto it = ran.find(thread.id);
    if (it != ran.end())
      total += static_cast<double>(thread.run_ns - it->second);
  }
  const auto wall = static_cast<double>((now.taken - before.taken).count());
  worst = std::max(worst, total / (wall * static_cast<double>(cpus)));
}

void compare(const ByThread& ours0, const ByThread& ours1,
             const ByThread& kernel0, const ByThread& kernel1) {
  double run_worst = 0;
  double wait_worst = 0;
  double wait_worst_ms = 0;
  int threads = 0;
  int unseen = 0;
  for (const auto& [tid, k_end] : kernel1) {
    const auto k0 = kernel0.find(tid);
    if (k0 == kernel0.end()) continue;  // born meanwhile
    const auto begin = ours0.find(tid);
    const auto found = ours1.find(tid);
    if (begin == ours0.end() || found == ours1.end()) {
      // One that did not run while it was watched is not known, and rightly.
      if (k_end.run_ns != k0->second.run_ns) ++unseen;
      continue;
    }
    const Books& end = found->second;
    ++threads;
    const auto run = static_cast<double>(end.run_ns - begin->second.run_ns);
    const auto wait = static_cast<double>(end.wait_ns - begin->second.wait_ns);
    const auto k_run = static_cast<double>(k_end.run_ns - k0->second.run_ns);
    const auto k_wait = static_cast<double>(k_end.wait_ns - k0->second.wait_ns);
    fmt::print(
        "  tid {:>6}: run {:>10.3f} / {:>10.3f} ms, wait {:>10.3f} / "
        "{:>10.3f} ms\n",
        tid, run / 1e6, k_run / 1e6, wait / 1e6, k_wait / 1e6);
    if (k_run > 0) {
      run_worst = std::max(run_worst, std::abs(run - k_run) / k_run);
    }
    const double off_ms = std::abs(wait - k_wait) / 1e6;
    // 1 % or 2 ms, whichever is more.
    if (off_ms > 2) {
      wait_worst =
          std::max(wait_worst, std::abs(wait - k_wait) / std::max(k_wait, 1.0));
    }
    wait_worst_ms = std::max(wait_worst_ms, off_ms);
  }
  report("accounting.threads", threads, ">= 3", threads >= 3);
  // A helper thread that first ran in between has no beginning to count from.
  report("accounting.threads_not_seen", unseen, "<= 2", unseen <= 2);
  report("accounting.run_off_ratio", run_worst, "<= 0.001", run_worst <= 0.001);
  report("accounting.wait_off_ratio_beyond_2ms", wait_worst, "<= 0.01",
         wait_worst <= 0.01);
  report("accounting.wait_off_ms", wait_worst_ms, "(reported)", true);
}

}  // namespace

void check_accounting(std::span<const pid_t> pids, double seconds) {
  auto proc = ProcRoot::open();
  if (!proc) give_up(proc.error().what);
  Observer observer(pids);
  // Every thread that does anything is known after a while.
  (void)observer.read_after(std::chrono::seconds{2});
  for (const pid_t pid : pids) stop_process(pid);
  (void)observer.read_after(std::chrono::milliseconds{20});
  const ByThread ours0 = our_books(observer.read_after(Duration{1'000'000}));
  const ByThread kernel0 = kernels_books(*proc, pids);
  for (const pid_t pid : pids) continue_process(pid);

  const long cpus = sysconf(_SC_NPROCESSORS_ONLN);
  double worst = 0;
  Instant next = monotonic_now();
  const Instant end =
      next + std::chrono::nanoseconds{static_cast<long>(seconds * 1e9)};
  Sample before = observer.read_at(next);
  while (next < end) {
    next += std::chrono::milliseconds{10};
    const Sample& now = observer.read_at(next);
    if (now.taken - before.taken >= std::chrono::milliseconds{100}) {
      check_total(before, now, cpus, worst);
      before = now;
    }
  }
  for (const pid_t pid : pids) stop_process(pid);
  (void)observer.read_after(std::chrono::milliseconds{20});
  const ByThread ours1 = our_books(observer.read_after(Duration{1'000'000}));
  const ByThread kernel1 = kernels_books(*proc, pids);
  for (const pid_t pid : pids) continue_process(pid);
  compare(ours0, ours1, kernel0, kernel1);
  // The slack is one part in flight by another clock than the books.
  report("accounting.run_of_wall_times_cpus", worst, "<= 1.002",
         worst <= 1.002);
}

}  // namespace outrider::check
