// SPDX-License-Identifier: Apache-2.0
// However the process that moves the caps ends, every cap gets back what it
// held: killed, stopped and let go again; and it is not given up while it
// works.
//
//   kill_check kill COUNT P99_MS  SIGKILL at random instants
//   kill_check hang COUNT MAX_MS  SIGSTOP, SIGCONT
//   kill_check busy SECONDS       every CPU has more to do than it can
//   kill_check strand DIR         leaves caps there, agent and warden dead
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <new>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "agent/baseline/mapping.h"
#include "agent/sys/clock.h"
#include "agent/sys/fd.h"
#include "tests/host/cap_writer.h"
#include "tests/host/measure.h"

namespace outrider {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::uint32_t kCaps = 200;
constexpr Duration kPatience = seconds{5};
constexpr Duration kRoundPause = microseconds{300};  // writes most of the time
constexpr Duration kTick = milliseconds{20};         // as the agent

class Checker {
 public:
  explicit Checker(const std::string& scratch) {
    host_ = {scratch, kCaps};
    for (std::uint32_t vm = 0; vm < kCaps; ++vm) {
      const std::string dir = host_.mount() + FakeHost::cgroup(vm);
      std::filesystem::create_directories(dir);
      std::ofstream(dir + "/cpu.max") << FakeHost::baseline(vm) << '\n';
      caps_.emplace_back(
          ::open((dir + "/cpu.max").c_str(), O_RDONLY | O_CLOEXEC));
    }
    void* memory = ::mmap(nullptr, sizeof(WriterWord), PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) give_up("mmap");
    word_ = new (memory) WriterWord{};
    // Wardens outlive their writers and are ours then, to be waited for.
    if (::prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) give_up("subreaper");
  }
  Checker(const Checker&) = delete;
  Checker& operator=(const Checker&) = delete;
  ~Checker() = default;

  bool kill(int count, Duration p99_max);
  bool hang(int count, Duration each_max);
  bool busy(int for_seconds);
  bool strand();

 private:
  [[noreturn]] static void give_up(const char* what) {
    std::perror(what);
    std::exit(1);
  }

  bool is_back(std::uint32_t vm) const {
    char text[64];
    const ssize_t got = ::pread(caps_[vm].get(), text, sizeof(text), 0);
    const std::string_view all{text, static_cast<std::size_t>(got)};
    return all.substr(0, all.find('\n')) == FakeHost::baseline(vm);
  }
  int count_wrong() const {
    int wrong = 0;
    for (std::uint32_t vm = 0; vm < kCaps; ++vm) wrong += is_back(vm) ? 0 : 1;
    return wrong;
  }
  /// Until every cap has been seen to be back.
  Duration wait_for_all(Instant begun, Duration nap) const {
    for (std::uint32_t vm = 0; vm < kCaps;) {
      if (is_back(vm)) {
        ++vm;
      } else if (monotonic_now() - begun > kPatience) {
        break;  // count_wrong tells
      } else {
        std::this_thread::sleep_for(nap);  // the dying want this CPU as well
      }
    }
    return monotonic_now() - begun;
  }

  void start(Duration pause) {
    writer_ = start_writer(host_, *word_, pause);
    while (word_->warden.load() <= 0) {
      if (::waitpid(writer_, nullptr, WNOHANG) != 0) {
        (void)std::fprintf(stderr, "the writer does not come up\n");
        std::exit(1);
      }
      std::this_thread::sleep_for(milliseconds{1});
    }
  }
  /// Gives how long it took until all was back; buries writer and warden.
  Duration kill_writer(int& warden_code) {
    const pid_t warden = word_->warden.load();
    const Instant begun = monotonic_now();
    (void)::kill(writer_, SIGKILL);
    const Duration took = wait_for_all(begun, microseconds{100});
    int status = 0;
    (void)::waitpid(writer_, nullptr, 0);
    (void)::waitpid(warden, &status, 0);
    warden_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    return took;
  }
  std::uint64_t generation() const {
    const Fd file{
        ::open((host_.run() + "/baseline").c_str(), O_RDWR | O_CLOEXEC)};
    auto mapping = BaselineMapping::map(file.get());
    return mapping ? mapping->file().header.generation.load() : 0;
  }

  FakeHost host_;
  std::vector<Fd> caps_;
  WriterWord* word_ = nullptr;
  pid_t writer_ = -1;
};

bool Checker::kill(int count, Duration p99_max) {
  std::mt19937 random{20};  // which instants: the machine's noise does the rest
  std::uniform_int_distribution<int> instant_us{0, 5000};
  std::vector<Duration> took;
  int wrong = 0;
  int failed_wardens = 0;
  int moved = 0;
  for (int i = 0; i < count; ++i) {
    start(kRoundPause);
    std::this_thread::sleep_for(microseconds{instant_us(random)});
    moved += count_wrong() > 0 ? 1 : 0;
    int code = 0;
    took.push_back(kill_writer(code));
    wrong += count_wrong();
    failed_wardens += code == 0 ? 0 : 1;
  }
  const Spread spread = spread_of(took);
  std::printf(
      "%d kills under %u moving caps (moved before %d of them): %d caps left "
      "wrong, %d wardens failed; kill to last cap back: p50 %.2f ms, p99 %.2f "
      "ms, max %.2f ms, limit of p99 %.0f ms\n",
      count, kCaps, moved, wrong, failed_wardens, ms(spread.p50),
      ms(spread.p99), ms(spread.max), ms(p99_max));
  return wrong == 0 && failed_wardens == 0 && moved > count / 2 &&
         spread.p99 <= p99_max;
}

bool Checker::hang(int count, Duration each_max) {
  std::mt19937 random{21};
  std::uniform_int_distribution<int> instant_us{0, 20000};
  std::vector<Duration> took;
  int wrong = 0;
  int stale = 0;
  start(kRoundPause);
  for (int i = 0; i < count; ++i) {
    const std::uint64_t before = generation();
    std::this_thread::sleep_for(microseconds{instant_us(random)});
    const Instant begun = monotonic_now();
    (void)::kill(writer_, SIGSTOP);
    took.push_back(wait_for_all(begun, milliseconds{1}));
    wrong += count_wrong();
    (void)::kill(writer_, SIGCONT);
    const Instant woken = monotonic_now();
    while (word_->adopted.load() != before + 1 &&
           monotonic_now() - woken < kPatience) {
      std::this_thread::sleep_for(milliseconds{1});
    }
    stale += count_wrong() + (word_->adopted.load() == before + 1 ? 0 : 1);
    word_->go_on.store(before + 1);
    std::this_thread::sleep_for(milliseconds{30});  // it moves caps again
  }
  int code = 0;
  (void)kill_writer(code);
  const Spread spread = spread_of(took);
  std::printf(
      "%d stops: %d caps not put back, %d stale after it woke up and adopted "
      "(%llu writes had been on their way and were undone); stop to last cap "
      "back: p50 %.0f ms, max %.0f ms, limit %.0f ms\n",
      count, wrong, stale,
      static_cast<unsigned long long>(word_->undone.load()), ms(spread.p50),
      ms(spread.max), ms(each_max));
  return wrong == 0 && stale == 0 && code == 0 && spread.max <= each_max;
}

bool Checker::busy(int for_seconds) {
  std::vector<pid_t> spinners(2 * std::thread::hardware_concurrency());
  for (pid_t& spinner : spinners) {
    spinner = ::fork();
    if (spinner != 0) continue;
    (void)::prctl(PR_SET_PDEATHSIG, SIGKILL);
    volatile bool spin = true;
    while (spin) {
    }
  }
  start(kTick);
  const std::uint64_t before = generation();
  std::this_thread::sleep_for(seconds{for_seconds});
  const std::uint64_t restores = generation() - before;
  const std::uint64_t writes = word_->writes.load();
  int code = 0;
  const Duration took = kill_writer(code);
  const int wrong = count_wrong();
  for (const pid_t spinner : spinners) {
    (void)::kill(spinner, SIGKILL);
    (void)::waitpid(spinner, nullptr, 0);
  }
  std::printf(
      "%d s with %zu spinners, %llu writes: %llu false restores; then killed: "
      "%d caps wrong, all back after %.2f ms\n",
      for_seconds, spinners.size(), static_cast<unsigned long long>(writes),
      static_cast<unsigned long long>(restores), wrong, ms(took));
  return restores == 0 && wrong == 0 && code == 0 && writes > kCaps;
}

// Stopped, so that neither can do anything about the other's death.
bool Checker::strand() {
  start(kTick);
  std::this_thread::sleep_for(milliseconds{100});
  const pid_t warden = word_->warden.load();
  for (const int signal : {SIGSTOP, SIGKILL}) {
    (void)::kill(warden, signal);
    (void)::kill(writer_, signal);
  }
  (void)::waitpid(writer_, nullptr, 0);
  (void)::waitpid(warden, nullptr, 0);
  return count_wrong() == static_cast<int>(kCaps);
}

std::string make_scratch() {
  std::string path = "/dev/shm/outrider-kill-XXXXXX";
  if (::mkdtemp(path.data()) == nullptr) std::perror("mkdtemp");
  return path;
}

bool run_mode(const std::string& mode, int number, milliseconds limit) {
  const std::string scratch = make_scratch();
  bool passed = false;
  {
    Checker checker{scratch};
    prioritise();
    if (mode == "kill") passed = checker.kill(number, limit);
    if (mode == "hang") passed = checker.hang(number, limit);
    if (mode == "busy") passed = checker.busy(number);
  }
  std::filesystem::remove_all(scratch);
  return passed;
}

int run(int count, char** words) {
  const std::string mode = count > 2 ? words[1] : "";
  if (mode == "strand") return Checker{words[2]}.strand() ? 0 : 1;
  const int number = count > 2 ? std::atoi(words[2]) : 0;
  const milliseconds limit{count > 3 ? std::atoi(words[3]) : 0};
  const bool has_limit = limit > milliseconds::zero();
  const bool is_known = mode == "busy" ? count == 3
                                       : (mode == "kill" || mode == "hang") &&
                                             count == 4 && has_limit;
  if (!is_known || number <= 0) {
    (void)std::fprintf(stderr,
                       "usage: kill_check kill COUNT P99_MS | hang COUNT "
                       "MAX_MS | busy SECONDS | strand DIR\n");
    return 2;
  }
  return run_mode(mode, number, limit) ? 0 : 1;
}

}  // namespace
}  // namespace outrider

int main(int count, char** words) { return outrider::run(count, words); }
