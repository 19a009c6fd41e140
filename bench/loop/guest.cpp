// SPDX-License-Identifier: Apache-2.0
#include "bench/loop/guest.h"

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <random>
#include <utility>

#include "agent/sys/clock.h"

namespace outrider::bench {
namespace {

constexpr Duration kBurst = std::chrono::milliseconds{150};
constexpr int kSleepUsMin = 300'000;
constexpr int kSleepUsMax = 400'000;
// A turn of the loop takes some 50 ns: what is longer was not its own doing.
constexpr std::int64_t kGapNs = 20'000;

}  // namespace

struct Guest::Shared {
  std::atomic<bool> released{false};
  std::atomic<std::uint32_t> bursts_begun{0};
  std::atomic<std::uint32_t> bursts_done{0};
  std::atomic<std::uint32_t> gap_count{0};
  std::array<Gap, 65'536> gaps{};

  void work_until(Instant end, Instant& last);
  [[noreturn]] void live(unsigned seed);
};

void Guest::Shared::work_until(Instant end, Instant& last) {
  while (last < end) {
    const Instant now = monotonic_now();
    if ((now - last).count() > kGapNs) {
      const std::uint32_t at = gap_count.load(std::memory_order_relaxed);
      gaps[at % gaps.size()] = {.begin_ns = last.time_since_epoch().count(),
                                .end_ns = now.time_since_epoch().count()};
      gap_count.store(at + 1, std::memory_order_release);
    }
    last = now;
  }
}

void Guest::Shared::live(unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_int_distribution<useconds_t> sleep_us(kSleepUsMin, kSleepUsMax);
  while (!released) {
  }
  for (;;) {
    usleep(sleep_us(random));
    ++bursts_begun;
    Instant last = monotonic_now();
    work_until(last + kBurst, last);
    ++bursts_done;
  }
}

Result<Guest> Guest::start(unsigned seed) {
  void* memory = mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return fail(errno, "mmap");
  auto* shared = new (memory) Shared;
  const pid_t maker = getpid();
  const pid_t pid = fork();
  if (pid < 0) return fail(errno, "fork");
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != maker) _exit(1);
    shared->live(seed);
  }
  return Guest(pid, shared);
}

Guest::Guest(Guest&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      shared_(std::exchange(other.shared_, nullptr)) {}

Guest::~Guest() {
  if (pid_ < 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
  munmap(shared_, sizeof(Shared));
}

void Guest::release() const { shared_->released = true; }
std::uint32_t Guest::bursts_begun() const { return shared_->bursts_begun; }
std::uint32_t Guest::bursts_done() const { return shared_->bursts_done; }

bool Guest::find_gap(Instant when, Gap& gap) const {
  const std::int64_t at = when.time_since_epoch().count();
  const std::uint32_t count =
      shared_->gap_count.load(std::memory_order_acquire);
  for (std::uint32_t i = 0; i < count && i < shared_->gaps.size(); ++i) {
    gap = shared_->gaps[i];
    if (gap.begin_ns < at && at < gap.end_ns) return true;
  }
  return false;
}

}  // namespace outrider::bench
