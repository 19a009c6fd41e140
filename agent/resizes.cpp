// SPDX-License-Identifier: Apache-2.0
#include "agent/resizes.h"

#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "agent/sys/clock.h"

namespace outrider {
namespace {

constexpr Duration kTurn = std::chrono::milliseconds{10};

}  // namespace

Result<GuestLink*> Resizes::link_for(const Vm& vm, Job& job) {
  if (GuestLink* link = world_.memory.link(vm.id)) return link;
  if (!clients_) {
    auto clients = qmp::Clients::make(world_.events);
    if (!clients) return pass(clients, "resize");
    clients_ = std::move(*clients);
  }
  auto link = GuestLink::make(*clients_, world_.proc, vm);
  if (!link) return pass(link, "resize");
  job.own = std::move(*link);
  return job.own.get();
}

Result<> Resizes::keep_time() {
  if (timer_) return {};
  auto timer = PeriodicTimer::make(kTurn);
  if (!timer) return pass(timer, "resize");
  auto watched = world_.events.watch(timer->fd(), EPOLLIN,
                                     [this](std::uint32_t) { turn(); });
  if (!watched) return pass(watched, "resize");
  timer_.emplace(std::move(*timer));
  return {};
}

Result<> Resizes::start(const Vm& vm, const ResizeOptions& options) {
  const auto before = jobs_.find(vm.id);
  if (before != jobs_.end() && !before->second.is_over) {
    return fail(EBUSY, "a resize of it is under way");
  }
  gone(vm.id);
  Job job;
  auto link = link_for(vm, job);
  if (!link) return tl::unexpected<Error>(link.error());
  auto timed = keep_time();
  if (!timed) return timed;
  job.link = *link;
  job.resize = std::make_unique<GuestResize>(job.link->client(), options);
  job.link->tell_events(
      [resize = job.resize.get()](const qmp::KnownEvent& event) {
        resize->on_event(event);
      });
  if (!options.dry_run) world_.memory.set_resizing(vm.id, true);
  jobs_.insert_or_assign(vm.id, std::move(job));
  return {};
}

void Resizes::turn() {
  (void)timer_->take();
  const Instant now = monotonic_now();
  for (auto& [vm, job] : jobs_) {
    if (job.is_over) continue;
    job.resize->advance(now);
    if (job.resize->is_over()) end(vm, job);
  }
  const bool all_over = std::ranges::all_of(
      jobs_, [](const auto& each) { return each.second.is_over; });
  if (!all_over) return;
  world_.events.forget(timer_->fd());
  timer_.reset();
}

// What came of it is still to be seen.
void Resizes::end(VmId vm, Job& job) {
  job.is_over = true;
  job.link->tell_events({});
  job.link = nullptr;
  world_.memory.set_resizing(vm, false);
  job.own.reset();
}

const ResizeProgress* Resizes::find(VmId vm) const {
  const auto job = jobs_.find(vm);
  return job == jobs_.end() ? nullptr : &job->second.resize->progress();
}

void Resizes::gone(VmId vm) {
  const auto job = jobs_.find(vm);
  if (job == jobs_.end()) return;
  if (!job->second.is_over) end(vm, job->second);
  jobs_.erase(job);
}

void Resizes::stop() {
  while (!jobs_.empty()) gone(jobs_.begin()->first);
  if (!timer_) return;
  world_.events.forget(timer_->fd());
  timer_.reset();
}

}  // namespace outrider
