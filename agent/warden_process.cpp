// SPDX-License-Identifier: Apache-2.0
#include "agent/warden_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <vector>

namespace outrider {
namespace {

constexpr int kPatienceMs = 500;

// The warden's descriptors, from here on: what it is given, and no others.
constexpr int kFirstFd = 3;
constexpr std::array<const char*, 5> kFdOptions = {
    "--table-fd", "--parent-fd", "--mount-fd", "--lifeline-fd", "--ready-fd"};
constexpr int kFdsEnd = kFirstFd + static_cast<int>(kFdOptions.size());

Fd open_pidfd(pid_t pid) {
  return Fd{static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))};
}

Result<std::string> program_beside_ours() {
  std::string path(PATH_MAX, '\0');
  const ssize_t got = ::readlink("/proc/self/exe", path.data(), path.size());
  if (got < 0) return fail(errno, "read /proc/self/exe");
  path.resize(static_cast<std::size_t>(got));
  path.resize(path.rfind('/') + 1);
  return path + "outrider-warden";
}

// What is set up for a child, with what posix_spawn wants freed.
struct Spawn {
  posix_spawn_file_actions_t files{};
  posix_spawnattr_t attributes{};

  Spawn() {
    ::posix_spawn_file_actions_init(&files);
    ::posix_spawnattr_init(&attributes);
  }
  Spawn(const Spawn&) = delete;
  Spawn& operator=(const Spawn&) = delete;
  ~Spawn() {
    ::posix_spawn_file_actions_destroy(&files);
    ::posix_spawnattr_destroy(&attributes);
  }
};

// No signal blocked or ignored, and none from our terminal.
void start_afresh(posix_spawnattr_t& attributes) {
  sigset_t none;
  sigset_t all;
  sigemptyset(&none);
  sigfillset(&all);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setsigdefault(&attributes, &all);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK |
                                              POSIX_SPAWN_SETSIGDEF |
                                              POSIX_SPAWN_SETSID);
}

std::vector<std::string> command_line(const std::string& program,
                                      const WardenOptions& options) {
  std::vector<std::string> words{program};
  int fd = kFirstFd;
  for (const char* option : kFdOptions) {
    words.emplace_back(option);
    words.push_back(std::to_string(fd++));
  }
  using std::chrono::milliseconds;
  const auto hang = std::chrono::duration_cast<milliseconds>(options.hang);
  words.emplace_back("--hang-ms");
  words.push_back(std::to_string(hang.count()));
  words.emplace_back("--priority");
  words.push_back(std::to_string(options.priority));
  return words;
}

Result<pid_t> spawn(std::vector<std::string> words,
                    const std::array<int, kFdOptions.size()>& fds) {
  Spawn child;
  start_afresh(child.attributes);
  std::vector<Fd> copies;  // clear of the numbers that they are to get
  for (std::size_t i = 0; i < fds.size(); ++i) {
    copies.emplace_back(::fcntl(fds[i], F_DUPFD_CLOEXEC, kFdsEnd));
    if (!copies.back()) return fail(errno, "descriptors for the warden");
    ::posix_spawn_file_actions_adddup2(&child.files, copies.back().get(),
                                       kFirstFd + static_cast<int>(i));
  }
  ::posix_spawn_file_actions_addclosefrom_np(&child.files, kFdsEnd);
  std::vector<char*> pointers;
  pointers.reserve(words.size() + 1);
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  pid_t pid = -1;
  const int code = ::posix_spawn(&pid, pointers[0], &child.files,
                                 &child.attributes, pointers.data(), environ);
  if (code != 0) return fail(code, "start " + words[0]);
  return pid;
}

bool gets_a_byte(int fd) {
  pollfd wait{.fd = fd, .events = POLLIN, .revents = 0};
  int ready = 0;
  do {
    ready = ::poll(&wait, 1, kPatienceMs);
  } while (ready < 0 && errno == EINTR);
  char byte = 0;
  return ready > 0 && ::read(fd, &byte, 1) == 1;
}

}  // namespace

Result<WardenProcess> WardenProcess::start(const WardenOptions& options) {
  auto program = options.program.empty() ? program_beside_ours()
                                         : Result<std::string>{options.program};
  if (!program) return pass(program, "warden");
  const Fd ours = open_pidfd(::getpid());
  std::array<int, 2> ends{};
  if (!ours) return fail(errno, "warden: pidfd_open");
  auto lifeline = Lifeline::make();
  if (!lifeline) return pass(lifeline, "warden");
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return fail(errno, "warden: pipe");
  const Fd ready{ends[0]};
  Fd told{ends[1]};
  auto pid = spawn(command_line(*program, options),
                   {options.table_fd, ours.get(), options.mount_fd,
                    lifeline->fd(), told.get()});
  told = Fd{};  // the end of the warden is then the end of the pipe
  if (!pid) return pass(pid, "warden");
  WardenProcess warden{*pid, open_pidfd(*pid), *std::move(lifeline)};
  if (!warden.pidfd_ || !gets_a_byte(ready.get())) {
    warden.stop();
    return fail(0, "warden: " + *program + " does not come to watch");
  }
  return warden;
}

bool WardenProcess::is_alive() const {
  pollfd look{.fd = pidfd_.get(), .events = POLLIN, .revents = 0};
  return ::poll(&look, 1, 0) == 0;
}

void WardenProcess::stop() {
  if (pid_ < 0) return;
  // Not waited for before, so the pid is still its own.
  (void)::kill(pid_, SIGKILL);  // ESRCH: it is dead already
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
}

}  // namespace outrider
