// SPDX-License-Identifier: Apache-2.0
#include "bench/probe/ping_pong.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "agent/sys/clock.h"

namespace outrider::bench {
namespace {

std::array<Fd, 2> make_pipe() {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) {
    perror("pipe");
    exit(1);
  }
  return {Fd{ends[0]}, Fd{ends[1]}};
}

pid_t own_thread() { return static_cast<pid_t>(syscall(SYS_gettid)); }

}  // namespace

void pin_to(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  if (sched_setaffinity(0, sizeof(set), &set) != 0) perror("pin");
}

PingPong::PingPong(int cpu)
    : there_(make_pipe()),
      back_(make_pipe()),
      cpu_(cpu),
      own_tid_(own_thread()),
      peer_([this] { answer(); }) {
  pin_to(cpu);
  while (peer_tid_ == 0) std::this_thread::yield();
}

PingPong::~PingPong() {
  there_[1] = Fd{};
  peer_.join();
}

void PingPong::answer() {
  pin_to(cpu_);
  peer_tid_ = own_thread();
  char byte = 0;
  while (read(there_[0].get(), &byte, 1) == 1) {
    if (write(back_[1].get(), &byte, 1) != 1) return;
  }
}

double PingPong::run(double seconds) {
  constexpr int kBatch = 500;
  const Instant start = monotonic_now();
  const auto budget = std::chrono::duration<double>(seconds);
  long rounds = 0;
  Duration spent{};
  do {
    for (int i = 0; i < kBatch; ++i) {
      char byte = 1;
      if (write(there_[1].get(), &byte, 1) != 1) abort();
      if (read(back_[0].get(), &byte, 1) != 1) abort();
    }
    rounds += kBatch;
    spent = monotonic_now() - start;
  } while (spent < budget);
  return static_cast<double>(spent.count()) / static_cast<double>(rounds);
}

}  // namespace outrider::bench
