// SPDX-License-Identifier: Apache-2.0
#include "agent/baseline/lifeline.h"

#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace outrider {
namespace {

Result<pthread_mutex_t*> map(int fd) {
  void* memory = ::mmap(nullptr, sizeof(pthread_mutex_t),
                        PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) return fail(errno, "lifeline: mmap");
  return static_cast<pthread_mutex_t*>(memory);
}

// 0, or the errno.
int start_held(pthread_mutex_t* mutex) {
  pthread_mutexattr_t shared;
  ::pthread_mutexattr_init(&shared);
  ::pthread_mutexattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
  ::pthread_mutexattr_setrobust(&shared, PTHREAD_MUTEX_ROBUST);
  const int code = ::pthread_mutex_init(mutex, &shared);
  ::pthread_mutexattr_destroy(&shared);
  return code != 0 ? code : ::pthread_mutex_lock(mutex);
}

}  // namespace

Result<Lifeline> Lifeline::make() {
  Fd fd{::memfd_create("outrider-lifeline", MFD_CLOEXEC)};
  if (!fd || ::ftruncate(fd.get(), sizeof(pthread_mutex_t)) != 0) {
    return fail(errno, "lifeline: memfd");
  }
  auto mutex = map(fd.get());
  if (!mutex) return tl::unexpected<Error>(std::move(mutex.error()));
  const int code = start_held(*mutex);
  if (code == 0) return Lifeline{std::move(fd), *mutex};
  (void)::munmap(*mutex, sizeof(pthread_mutex_t));
  return fail(code, "lifeline: mutex");
}

Result<Lifeline> Lifeline::open(int fd) {
  auto mutex = map(fd);
  if (!mutex) return tl::unexpected<Error>(std::move(mutex.error()));
  return Lifeline{Fd{}, *mutex};
}

Lifeline::Lifeline(Lifeline&& other) noexcept
    : fd_(std::move(other.fd_)), mutex_(std::exchange(other.mutex_, nullptr)) {}

Lifeline& Lifeline::operator=(Lifeline other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(mutex_, other.mutex_);
  return *this;
}

Lifeline::~Lifeline() {
  if (mutex_ == nullptr) return;
  // Out of the thread's list of what it holds, before it is unmapped.
  if (fd_) (void)::pthread_mutex_unlock(mutex_);
  (void)::munmap(mutex_, sizeof(pthread_mutex_t));
}

Lifeline::News Lifeline::wait(Instant until) {
  const auto ns = until.time_since_epoch().count();
  const timespec at{.tv_sec = ns / 1'000'000'000,
                    .tv_nsec = ns % 1'000'000'000};
  switch (::pthread_mutex_clocklock(mutex_, CLOCK_MONOTONIC, &at)) {
    case ETIMEDOUT:
      return News::kNone;
    case EOWNERDEAD:
      return News::kEnded;
    default:
      return News::kLetGo;
  }
}

}  // namespace outrider
