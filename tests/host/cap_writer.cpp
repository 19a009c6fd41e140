// SPDX-License-Identifier: Apache-2.0
#include "tests/host/cap_writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "agent/baseline/restore.h"
#include "agent/baseline/table.h"
#include "agent/loop_thread.h"
#include "agent/sys/clock.h"
#include "agent/sys/fd.h"
#include "agent/warden_process.h"

namespace outrider {
namespace {

constexpr int kWriterPriority = 1;
constexpr int kWardenPriority = 2;

void sleep_for(Duration pause) {
  const timespec time{.tv_sec = pause.count() / 1'000'000'000,
                      .tv_nsec = pause.count() % 1'000'000'000};
  ::nanosleep(&time, nullptr);
}

template <class T>
T must(Result<T> result) {
  if (result) return *std::move(result);
  (void)std::fprintf(stderr, "writer: %s: %s\n", result.error().what.c_str(),
                     std::strerror(result.error().code));
  ::_exit(1);
}

class CapWriter {
 public:
  CapWriter(const FakeHost& host, WriterWord& word)
      : word_(word),
        mount_(::open(host.mount().c_str(), O_RDONLY | O_CLOEXEC)),
        table_(must(BaselineTable::open(host.run(), host.mount()))) {
    for (std::uint32_t vm = 0; vm < host.vm_count; ++vm) add(host, vm);
    warden_ = must(WardenProcess::start({.program = "",
                                         .table_fd = table_.fd(),
                                         .mount_fd = mount_.get(),
                                         .priority = kWardenPriority}))
                  .pid();
    auto prioritised = prioritise_loop(kWriterPriority);
    if (!prioritised) ::_exit(1);
  }

  [[noreturn]] void run(Duration pause) {
    adopted_ = table_.generation();
    word_.warden.store(warden_);
    for (std::uint32_t round = 0;; ++round) {
      table_.beat(static_cast<std::uint64_t>(
          monotonic_now().time_since_epoch().count()));
      move_all(round);
      if (table_.generation() != adopted_) adopt();
      sleep_for(pause);
    }
  }

 private:
  struct Cap {
    Fd file;
    BaselineSlot slot{};
  };

  void add(const FakeHost& host, std::uint32_t vm) {
    const std::string path = host.mount() + FakeHost::cgroup(vm);
    struct stat facts {};
    if (::stat(path.c_str(), &facts) != 0) ::_exit(1);
    Cap cap;
    cap.file = Fd{::open((path + "/cpu.max").c_str(), O_RDWR | O_CLOEXEC)};
    cap.slot = must(table_.remember({.cgroup = FakeHost::cgroup(vm),
                                     .cgroup_id = facts.st_ino,
                                     .attribute = "cpu.max",
                                     .baseline = FakeHost::baseline(vm)}));
    caps_.push_back(std::move(cap));
  }

  void write(const Cap& cap, std::string_view text) {
    std::array<char, 64> line;
    const std::size_t bytes = text.copy(line.data(), line.size() - 1);
    line[bytes] = '\n';
    table_.announce(cap.slot, text);
    if (::pwrite(cap.file.get(), line.data(), bytes + 1, 0) < 0) ::_exit(1);
    word_.writes.fetch_add(1, std::memory_order_relaxed);
    table_.confirm(cap.slot, text);
  }

  void move_all(std::uint32_t round) {
    for (std::size_t i = 0; i < caps_.size(); ++i) {
      if (table_.generation() != adopted_) return;  // given up meanwhile
      std::array<char, 32> text;
      // 3 to 6 digits: lengths differ from one to the next.
      const auto quota = 1000 + (round * 7919U + i * 1013U) % 150'000;
      const int bytes = std::snprintf(text.data(), text.size(), "%zu 100000",
                                      static_cast<std::size_t>(quota));
      write(caps_[i], {text.data(), static_cast<std::size_t>(bytes)});
    }
  }

  // The warden gave us up: what stands there now is the truth. One write may
  // have been on its way when we were stopped, and have come after the warden.
  void adopt() {
    const std::uint64_t generation = table_.generation();
    for (const Cap& cap : caps_) {
      std::array<char, 64> text{};
      const ssize_t got = ::pread(cap.file.get(), text.data(), text.size(), 0);
      const std::string_view all{text.data(), static_cast<std::size_t>(got)};
      const std::string_view present = all.substr(0, all.find('\n'));
      if (present != table_.baseline(cap.slot)) {
        write(cap, table_.baseline(cap.slot));
        word_.undone.fetch_add(1);
      } else {
        table_.confirm(cap.slot, present);
      }
    }
    adopted_ = generation;
    word_.adopted.store(generation);
    while (word_.go_on.load() != generation) {
      table_.beat(static_cast<std::uint64_t>(
          monotonic_now().time_since_epoch().count()));
      sleep_for(std::chrono::milliseconds{1});
    }
  }

  WriterWord& word_;
  Fd mount_;
  BaselineTable table_;
  std::vector<Cap> caps_;
  pid_t warden_ = -1;
  std::uint64_t adopted_ = 0;
};

}  // namespace

std::string FakeHost::cgroup(std::uint32_t vm) {
  return "/vm" + std::to_string(vm);
}

std::string FakeHost::baseline(std::uint32_t vm) {
  return vm % 2 == 0 ? "max 100000" : std::to_string(50000 + vm) + " 100000";
}

pid_t start_writer(const FakeHost& host, WriterWord& word, Duration pause) {
  word.warden.store(0);
  word.writes.store(0);
  const pid_t pid = ::fork();
  if (pid == 0) CapWriter(host, word).run(pause);
  return pid;
}

}  // namespace outrider
