// SPDX-License-Identifier: Apache-2.0
#include "bench/loop/crowd.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <sched.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "agent/sys/clock.h"
#include "ping.skel.h"

namespace outrider::bench {
namespace {

void pin_to(std::size_t cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  (void)sched_setaffinity(0, sizeof(set), &set);  // else it spins elsewhere
}

}  // namespace

Result<std::unique_ptr<Crowd>> Crowd::start() {
  std::unique_ptr<Crowd> crowd{new Crowd};
  crowd->skeleton_ = ping_bpf::open_and_load();
  if (crowd->skeleton_ == nullptr) return fail(errno, "load the yardstick");
  crowd->ring_ = ring_buffer__new(
      bpf_map__fd(crowd->skeleton_->maps.pings),
      [](void* self, void* data, std::size_t) {
        std::int64_t at = 0;
        std::memcpy(&at, data, sizeof(at));
        (*static_cast<Crowd*>(self)->handle_)(
            Instant{std::chrono::nanoseconds{at}});
        return 0;
      },
      crowd.get(), nullptr);
  if (crowd->ring_ == nullptr) return fail(errno, "map the yardstick's ring");
  const auto cpus = static_cast<std::size_t>(sysconf(_SC_NPROCESSORS_ONLN));
  crowd->ping_at_ns_ = std::vector<std::atomic<std::int64_t>>(cpus);
  for (std::size_t cpu = 0; cpu < cpus; ++cpu) {
    crowd->threads_.emplace_back([raw = crowd.get(), cpu] { raw->spin(cpu); });
  }
  return crowd;
}

Crowd::~Crowd() {
  stopping_ = true;
  for (std::thread& thread : threads_) thread.join();
  ring_buffer__free(ring_);
  if (skeleton_ != nullptr) ping_bpf::destroy(skeleton_);
}

void Crowd::spin(std::size_t cpu) {
  pin_to(cpu);
  const int program = bpf_program__fd(skeleton_->progs.ping);
  std::atomic<std::int64_t>& at_ns = ping_at_ns_[cpu];
  while (!stopping_) {
    const std::int64_t at = at_ns;
    if (at == 0 || monotonic_now().time_since_epoch().count() < at) continue;
    at_ns = 0;
    ++told_;
    bpf_test_run_opts options{};
    options.sz = sizeof(options);
    // A call that is not made is missed when they are counted.
    (void)bpf_prog_test_run_opts(program, &options);
  }
}

void Crowd::ask_for_ping(Instant when) {
  next_ = (next_ + 1) % ping_at_ns_.size();
  ping_at_ns_[next_] = when.time_since_epoch().count();
}

// Without libbpf's own epoll between, as the eyes do.
int Crowd::event_fd() const { return bpf_map__fd(skeleton_->maps.pings); }

void Crowd::take_pings(const std::function<void(Instant at)>& handle) {
  handle_ = &handle;
  (void)ring_buffer__consume(ring_);  // interrupted: the ring stays readable
  handle_ = nullptr;
}

}  // namespace outrider::bench
