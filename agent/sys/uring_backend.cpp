// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <liburing.h>
#include <sys/epoll.h>

#include <cerrno>

#include "agent/sys/event_backend.h"

namespace outrider {
namespace {

constexpr unsigned kSubmissions = 256;   // armed by one syscall at most
constexpr unsigned kCompletions = 4096;  // more are kept by the kernel
constexpr std::uint64_t kNoKey = 0;      // of what nobody waits for

// Null if the kernel takes nothing at the moment.
io_uring_sqe* next_entry(io_uring* ring) {
  io_uring_sqe* entry = io_uring_get_sqe(ring);
  if (entry != nullptr) return entry;
  (void)io_uring_submit(ring);  // what it refused shows in the next line
  return io_uring_get_sqe(ring);
}

}  // namespace

void UringBackend::Exit::operator()(io_uring* ring) const {
  if (ring->ring_fd >= 0) io_uring_queue_exit(ring);
  delete ring;
}

UringBackend::UringBackend(std::unique_ptr<io_uring, Exit> ring)
    : ring_(std::move(ring)) {}

Result<UringBackend> UringBackend::make() {
  std::unique_ptr<io_uring, Exit> ring{new io_uring{}};
  ring->ring_fd = -1;
  io_uring_params params{};
  // A wake-up only wakes: what it leads to is done by the thread that waits.
  params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                 IORING_SETUP_CQSIZE;
  params.cq_entries = kCompletions;
  const int error =
      io_uring_queue_init_params(kSubmissions, ring.get(), &params);
  if (error == 0) return UringBackend{std::move(ring)};
  ring->ring_fd = -1;
  const char* why = error == -EPERM    ? "io_uring: not allowed here"
                    : error == -ENOSYS ? "io_uring: not in this kernel"
                    : error == -EINVAL ? "io_uring: needs Linux 6.1"
                                       : "io_uring_setup";
  return fail(-error, why);
}

Result<> UringBackend::add(const Interest& interest) {
  // A poll that is refused says so when it is waited for: too late to tell
  // the caller of its mistake.
  if (::fcntl(interest.fd, F_GETFD) < 0) return fail(errno, "io_uring: add");
  return rearm(interest);
}

Result<> UringBackend::change(const Interest& before, const Interest& after) {
  remove(before);
  return rearm(after);
}

// At once: a poll keeps its file open, and who asks is about to close it.
void UringBackend::remove(const Interest& interest) {
  io_uring_sqe* entry = next_entry(ring_.get());
  if (entry == nullptr) return;  // it is told of a key that nobody knows
  io_uring_prep_poll_remove(entry, interest.key);
  io_uring_sqe_set_data64(entry, kNoKey);
  (void)io_uring_submit_and_get_events(ring_.get());
}

Result<> UringBackend::rearm(const Interest& interest) {
  io_uring_sqe* entry = next_entry(ring_.get());
  if (entry == nullptr) return fail(EBUSY, "io_uring: no room to poll");
  io_uring_prep_poll_add(entry, interest.fd, interest.epoll_events);
  io_uring_sqe_set_data64(entry, interest.key);
  return {};
}

// `error`: of a poll that the kernel refused. Removals, and what they removed,
// are for nobody.
std::size_t UringBackend::take(std::span<Ready> ready, int& error) {
  std::size_t count = 0;
  unsigned seen = 0;
  unsigned head = 0;
  io_uring_cqe* completion = nullptr;
  io_uring_for_each_cqe(ring_.get(), head, completion) {
    if (count == ready.size()) break;
    ++seen;
    if (completion->user_data == kNoKey || completion->res == -ECANCELED)
      continue;
    if (completion->res < 0) error = completion->res;
    ready[count++] = {
        .key = completion->user_data,
        .epoll_events = static_cast<std::uint32_t>(completion->res)};
  }
  io_uring_cq_advance(ring_.get(), seen);
  return count;
}

Result<std::size_t> UringBackend::wait(Duration timeout,
                                       std::span<Ready> ready) {
  const auto seconds =
      std::chrono::duration_cast<std::chrono::seconds>(timeout);
  __kernel_timespec wait{.tv_sec = seconds.count(),
                         .tv_nsec = (timeout - seconds).count()};
  for (;;) {
    io_uring_cqe* first = nullptr;
    const int waited = io_uring_submit_and_wait_timeout(
        ring_.get(), &first, 1, timeout < Duration::zero() ? nullptr : &wait,
        nullptr);
    if (waited < 0 && waited != -ETIME && waited != -EINTR)
      return fail(-waited, "io_uring: wait");
    const bool has_leftovers = io_uring_cq_ready(ring_.get()) > 0;
    int error = 0;
    const std::size_t count = take(ready, error);
    if (error != 0) return fail(-error, "io_uring: poll");
    // Only of what was removed: that ends no wait.
    if (count > 0 || !has_leftovers) return count;
  }
}

}  // namespace outrider
