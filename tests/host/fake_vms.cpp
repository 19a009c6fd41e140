// SPDX-License-Identifier: Apache-2.0
#include "tests/host/fake_vms.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <jansson.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>
#include <utility>

#include "agent/sys/clock.h"

namespace outrider {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Duration kPatience = seconds{30};  // others may be busy here
constexpr std::array<std::string_view, 4> kFiles = {"cpu.max", "cpu.max.burst",
                                                    "cpu.weight", "cpu.idle"};

std::string baseline_of(std::uint32_t vm, std::string_view file) {
  if (file == "cpu.max") {
    return vm % 2 == 0 ? "max 100000" : fmt::format("{} 100000", 50000 + vm);
  }
  return file == "cpu.weight" ? "100" : "0";
}

std::string first_line(int file) {
  std::array<char, 64> text;
  const ssize_t got = ::pread(file, text.data(), text.size(), 0);
  if (got < 0) give_up("read a knob");
  const std::string_view all{text.data(), static_cast<std::size_t>(got)};
  return std::string{all.substr(0, all.find('\n'))};
}

pid_t start_program(std::vector<std::string> words, int out) {
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  const pid_t pid = ::fork();
  if (pid < 0) give_up("fork");
  if (pid > 0) return pid;
  (void)::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (out >= 0) (void)::dup2(out, STDOUT_FILENO);
  ::execv(pointers[0], pointers.data());
  std::perror(pointers[0]);
  ::_exit(1);
}

}  // namespace

void give_up(const std::string& what) {
  (void)std::fprintf(stderr, "%s: %s\n", what.c_str(), std::strerror(errno));
  std::exit(1);
}

bool bury_child(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) return false;
  }
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

// --- The tree ----------------------------------------------------------------

FakeTree::FakeTree(const std::string& dir, std::uint32_t vm_count)
    : mount_(dir + "/mount"), vm_count_(vm_count) {
  for (std::uint32_t vm = 0; vm < vm_count; ++vm) {
    const std::string path = mount_ + cgroup(vm) + "/";
    std::filesystem::create_directories(path);
    std::ofstream(path + "cpu.stat") << "usage_usec 0\nnr_periods 0\n"
                                        "nr_throttled 0\nthrottled_usec 0\n";
    for (const char* name : {"cgroup.procs", "cgroup.threads"}) {
      std::ofstream(path + name).flush();
    }
    for (const std::string_view name : kFiles) {
      const std::string file = path + std::string{name};
      std::string baseline = baseline_of(vm, name);
      std::ofstream(file) << baseline << '\n';
      files_.push_back({Fd{::open(file.c_str(), O_RDONLY | O_CLOEXEC)},
                        std::move(baseline)});
      if (!files_.back().fd) give_up(file);
    }
  }
}

bool FakeTree::is_back(std::uint32_t vm) const {
  for (std::size_t i = vm * kFiles.size(); i < (vm + 1) * kFiles.size(); ++i) {
    if (first_line(files_[i].fd.get()) != files_[i].baseline) return false;
  }
  return true;
}

std::uint32_t FakeTree::count_moved() const {
  std::uint32_t moved = 0;
  for (std::uint32_t vm = 0; vm < vm_count_; ++vm) moved += is_back(vm) ? 0 : 1;
  return moved;
}

Duration FakeTree::wait_for_all(Instant begun, Duration nap) const {
  for (std::uint32_t vm = 0; vm < vm_count_;) {
    if (is_back(vm)) {
      ++vm;
    } else if (monotonic_now() - begun > kPatience) {
      break;
    } else {
      std::this_thread::sleep_for(nap);  // the dying want this CPU as well
    }
  }
  return monotonic_now() - begun;
}

bool FakeTree::wait_for_moves(std::uint32_t least) const {
  const Instant begun = monotonic_now();
  while (count_moved() < least) {
    if (monotonic_now() - begun > kPatience) return false;
    std::this_thread::sleep_for(milliseconds{2});
  }
  return true;
}

std::vector<std::string> FakeTree::caps() const {
  std::vector<std::string> all;
  for (std::size_t i = 0; i < files_.size(); i += kFiles.size()) {
    all.push_back(first_line(files_[i].fd.get()));
  }
  return all;
}

// --- The machines ------------------------------------------------------------

Machines::Machines(const std::string& program, std::uint32_t count,
                   const std::string& mode) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) give_up("pipe");
  parent_ = start_program(
      {program, "--count", std::to_string(count), "--mode", mode, "--forever"},
      ends[1]);
  ::close(ends[1]);
  FILE* lines = ::fdopen(ends[0], "r");
  int pid = 0;
  while (pids_.size() < count && std::fscanf(lines, " ready %d", &pid) == 1) {
    pids_.push_back(pid);
  }
  (void)std::fclose(lines);
  if (pids_.size() < count) give_up("minivm ended");
}

Machines::~Machines() {
  (void)::kill(parent_, SIGTERM);
  (void)bury_child(parent_);
}

// --- The daemon --------------------------------------------------------------

Daemon::Daemon(std::string dir, std::vector<pid_t> vms)
    : dir_(std::move(dir)), vms_(std::move(vms)) {}

Daemon::~Daemon() {
  if (pid_ < 0) return;
  const pid_t its_warden = warden();
  (void)::kill(pid_, SIGKILL);
  (void)bury();
  if (its_warden > 0) (void)bury_child(its_warden);
}

void Daemon::start() {
  std::filesystem::remove(dir_ + "/control.sock");
  pid_ = start_program(
      {dir_ + "/bin/outriderd", "--config", dir_ + "/outrider.yaml"}, -1);
}

ControlClient Daemon::connect() const {
  const Instant begun = monotonic_now();
  for (;;) {
    auto client = ControlClient::connect(dir_ + "/control.sock");
    if (client) return *std::move(client);
    int status = 0;
    if (::waitpid(pid_, &status, WNOHANG) != 0) give_up("outriderd ended");
    if (monotonic_now() - begun > kPatience) give_up("outriderd is silent");
    std::this_thread::sleep_for(milliseconds{2});
  }
}

void Daemon::attach(Instant until) const {
  ControlClient client = connect();
  for (std::size_t vm = 0; vm < vms_.size() && monotonic_now() < until; ++vm) {
    (void)ask(
        client,
        fmt::format(
            R"({{"verb":"vm.attach","pid":{},"cgroup":"{}","name":"vm{}"}})",
            vms_[vm], FakeTree::cgroup(static_cast<std::uint32_t>(vm)), vm));
  }
}

void Daemon::start_with_all() {
  start();
  attach(Instant::max());
}

std::string Daemon::ask(ControlClient& client, const std::string& line) {
  auto sent = client.send(line);
  if (!sent) give_up(sent.error().what);
  auto reply = client.receive(kPatience);
  if (!reply) give_up(reply.error().what);
  if (!json_is_true(json_object_get(reply->json.get(), "ok"))) {
    give_up(line + " -> " + reply->text);
  }
  return reply->text;
}

std::string Daemon::ask(const std::string& line) const {
  ControlClient client = connect();
  return ask(client, line);
}

pid_t Daemon::warden() const {
  std::ifstream children(fmt::format("/proc/{0}/task/{0}/children", pid_));
  pid_t child = -1;
  return children >> child ? child : -1;
}

void Daemon::signal(int number) const { (void)::kill(pid_, number); }

bool Daemon::bury() { return bury_child(std::exchange(pid_, -1)); }

}  // namespace outrider
