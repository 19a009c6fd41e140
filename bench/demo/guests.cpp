// SPDX-License-Identifier: Apache-2.0
#include "bench/demo/guests.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sched.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string_view>

#include "agent/proc.h"

namespace outrider::demo {
namespace {

constexpr std::int64_t kPeriodUs = 100'000;

volatile std::sig_atomic_t told_to_stop = 0;

void note_stop(int) { told_to_stop = 1; }

Fd open_file(const std::string& path, int flags) {
  Fd fd{::open(path.c_str(), flags | O_CLOEXEC)};
  if (!fd) give_up(fmt::format("open {}: {}", path, std::strerror(errno)));
  return fd;
}

// The whole of a small file of the kernel's; empty when its cgroup is gone.
class SmallText {
 public:
  explicit SmallText(const Fd& fd) {
    const ssize_t got = ::pread(fd.get(), bytes_.data(), bytes_.size(), 0);
    if (got > 0) size_ = static_cast<std::size_t>(got);
  }
  std::string_view text() const { return {bytes_.data(), size_}; }

 private:
  std::array<char, 1024> bytes_{};
  std::size_t size_ = 0;
};

// The number after `key`; 0 when it is not there.
std::uint64_t number_after(std::string_view text, std::string_view key) {
  const std::size_t at = text.find(key);
  if (at == std::string_view::npos) return 0;
  std::uint64_t number = 0;
  const char* begin = text.data() + at + key.size();
  std::from_chars(begin, text.data() + text.size(), number);
  return number;
}

bool is_vcpu(std::string_view name) {
  return name.starts_with("CPU ") && name.ends_with("/KVM\n");
}

std::vector<Fd> vcpu_schedstats(const Guest& guest) {
  auto proc = ProcRoot::open();
  if (!proc) give_up(proc.error().what);
  auto tasks = list_tasks(*proc, guest.pid);
  if (!tasks) give_up(tasks.error().what);
  std::vector<Fd> files;
  for (const pid_t tid : *tasks) {
    const std::string task = fmt::format("{}/task/{}/", guest.pid, tid);
    auto name = read_text_at(proc->fd(), task + "comm", 64);
    if (!name || !is_vcpu(*name)) continue;
    files.push_back(open_file("/proc/" + task + "schedstat", O_RDONLY));
  }
  if (files.empty()) give_up(guest.name + " has no thread \"CPU n/KVM\"");
  return files;
}

}  // namespace

std::vector<Guest> read_guests(const std::string& path) {
  std::ifstream file(path);
  std::vector<Guest> guests;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    Guest guest;
    std::string role;
    std::array<std::int64_t, 3> figures{};
    words >> guest.name >> guest.pid >> guest.cgroup >> role >> figures[0] >>
        figures[1] >> figures[2] >> guest.marks >> guest.plan;
    if (!words) give_up(fmt::format("{}: not a guest: {}", path, line));
    guest.is_batch = role == "batch";
    guest.ceiling = MilliCpus{figures[0]};
    guest.mean = MilliCpus{figures[1]};
    guest.peak = MilliCpus{figures[2]};
    guests.push_back(std::move(guest));
  }
  if (guests.empty()) give_up(path + ": no guests");
  return guests;
}

CpuMaxFile::CpuMaxFile(const Guest& guest)
    : fd_(open_file(guest.cgroup + "/cpu.max", O_RDWR)) {}

MilliCpus CpuMaxFile::read() const {
  const SmallText content(fd_);
  std::int64_t quota_us = 0;
  std::int64_t period_us = 0;
  const char* end = content.text().data() + content.text().size();
  const auto quota = std::from_chars(content.text().data(), end, quota_us);
  if (quota.ec != std::errc{} || quota.ptr == end) return kNoLimit;
  std::from_chars(quota.ptr + 1, end, period_us);
  return period_us > 0 ? MilliCpus{quota_us * 1000 / period_us} : kNoLimit;
}

void CpuMaxFile::write(MilliCpus cap) {
  const std::string text =
      cap == kNoLimit
          ? fmt::format("max {}", kPeriodUs)
          : fmt::format("{} {}", cap.count() * kPeriodUs / 1000, kPeriodUs);
  const ssize_t put = ::pwrite(fd_.get(), text.data(), text.size(), 0);
  if (put < 0) give_up(fmt::format("cpu.max: {}", std::strerror(errno)));
}

ThrottlingFile::ThrottlingFile(const Guest& guest)
    : fd_(open_file(guest.cgroup + "/cpu.stat", O_RDONLY)) {}

Throttling ThrottlingFile::read() const {
  const SmallText content(fd_);
  return {.times = number_after(content.text(), "nr_throttled "),
          .us = number_after(content.text(), "throttled_usec ")};
}

VcpuTimeFiles::VcpuTimeFiles(const Guest& guest)
    : fds_(vcpu_schedstats(guest)) {}

VcpuTime VcpuTimeFiles::read() const {
  VcpuTime sum;
  for (const Fd& fd : fds_) {
    const SmallText content(fd);
    const auto stat = parse_schedstat(content.text());
    if (!stat) give_up("a guest is gone");
    sum.run_ns += stat->run_ns;
    sum.wait_ns += stat->wait_ns;
  }
  return sum;
}

void give_up(const std::string& what) {
  fmt::print(stderr, "bench_demo: {}\n", what);
  exit(1);
}

void sleep_until(Instant when) {
  const auto since_boot = when.time_since_epoch();
  const timespec until{.tv_sec = since_boot / std::chrono::seconds{1},
                       .tv_nsec = since_boot % std::chrono::seconds{1} /
                                  std::chrono::nanoseconds{1}};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr) !=
         0) {
    if (is_told_to_stop()) return;
  }
}

void become_real_time(int priority) {
  const sched_param parameter{.sched_priority = priority};
  if (sched_setscheduler(0, SCHED_FIFO, &parameter) != 0)
    give_up(fmt::format("SCHED_FIFO: {}", std::strerror(errno)));
  if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0)
    give_up(fmt::format("mlockall: {}", std::strerror(errno)));
}

void catch_stop() {
  struct sigaction action {};
  action.sa_handler = note_stop;
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
}

bool is_told_to_stop() { return told_to_stop != 0; }

}  // namespace outrider::demo
