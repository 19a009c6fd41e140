// SPDX-License-Identifier: Apache-2.0
// outrider-warden: puts every knob's baseline back when the agent that started
// it dies, or hangs. Once it watches it allocates nothing, and its memory is
// locked: it has to work on the host that the agent did not survive.
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include "agent/baseline/lifeline.h"
#include "agent/baseline/mapping.h"
#include "agent/baseline/restore.h"
#include "agent/sys/clock.h"
#include "agent/warden/hang_watch.h"

namespace outrider {
namespace {

constexpr int kExitError = 1;
constexpr int kExitUsage = 2;
constexpr int kAttempts = 3;  // EBUSY and the like pass
constexpr int kAttemptPauseMs = 2;

constexpr const char* kUsage =
    "usage: outrider-warden --table-fd N --parent-fd N --mount-fd N\n"
    "                       --lifeline-fd N --hang-ms N [--priority N]\n"
    "                       [--ready-fd N]\n"
    "\n"
    "outriderd starts it; there is no need to do so by hand. When the process\n"
    "behind the pidfd dies, or does not beat for --hang-ms, every knob in the\n"
    "table gets back what it held before, unless somebody else has written\n"
    "there since.\n";

struct Arguments {
  int table_fd = -1;
  int parent_fd = -1;  // pidfd
  int mount_fd = -1;
  int lifeline_fd = -1;
  int ready_fd = -1;  // gets a byte when it watches
  int hang_ms = 0;
  int priority = 0;  // SCHED_FIFO; 0: an ordinary process
};

bool parse(std::span<char*> words, Arguments& arguments) {
  const std::array<std::pair<std::string_view, int*>, 7> options{{
      {"--table-fd", &arguments.table_fd},
      {"--parent-fd", &arguments.parent_fd},
      {"--mount-fd", &arguments.mount_fd},
      {"--lifeline-fd", &arguments.lifeline_fd},
      {"--ready-fd", &arguments.ready_fd},
      {"--hang-ms", &arguments.hang_ms},
      {"--priority", &arguments.priority},
  }};
  for (; words.size() >= 2; words = words.subspan(2)) {
    const std::string_view name{words[0]};
    const std::string_view text{words[1]};
    const auto* const option =
        std::find_if(options.begin(), options.end(),
                     [name](const auto& each) { return each.first == name; });
    if (option == options.end()) return false;
    const auto parsed =
        std::from_chars(text.begin(), text.end(), *option->second);
    if (parsed.ec != std::errc{} || parsed.ptr != text.end()) return false;
  }
  return words.empty() && arguments.table_fd >= 0 && arguments.parent_fd >= 0 &&
         arguments.mount_fd >= 0 && arguments.lifeline_fd >= 0 &&
         arguments.hang_ms >= 8 && arguments.priority >= 0;
}

// What fails here makes it slower on a bad day, and is no reason to do without.
void tolerate(int result, const char* what) {
  if (result == 0) return;
  (void)std::fprintf(stderr, "outrider-warden: %s: %s: goes on without\n", what,
                     std::strerror(errno));
}

void prioritise(int priority) {
  if (priority == 0) return;
  const sched_param param{.sched_priority = priority};
  tolerate(::sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &param),
           "SCHED_FIFO");
}

// It ends when the agent has ended, and no sooner.
void outlive_the_agent() {
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGPIPE}) {
    (void)::signal(signal, SIG_IGN);  // cannot fail for these
  }
}

class Warden {
 public:
  Warden(const Arguments& arguments, BaselineFile& file, Lifeline lifeline)
      : arguments_(arguments),
        file_(file),
        lifeline_(std::move(lifeline)),
        watch_(std::chrono::milliseconds{arguments.hang_ms}) {}

  int run() {
    for (;;) {
      touch_new_records();
      const Instant before = monotonic_now();
      const auto news = lifeline_ ? lifeline_->wait(before + watch_.pause())
                                  : Lifeline::News::kNone;
      if (news == Lifeline::News::kEnded) return put_back("the agent died");
      pollfd parent{.fd = arguments_.parent_fd, .events = POLLIN, .revents = 0};
      const int ready = ::poll(&parent, 1, lifeline_ ? 0 : pause_ms());
      if (news == Lifeline::News::kLetGo) lifeline_.reset();
      if (ready > 0 && (parent.revents & POLLNVAL) != 0) return kExitError;
      if (ready > 0) return put_back("the agent died");
      if (ready < 0 && errno != EINTR) return put_back("cannot watch it");
      const Instant now = monotonic_now();
      const std::uint64_t beat =
          file_.header.heartbeat_ns.load(std::memory_order_acquire);
      if (watch_.look(now - before, now, beat)) {
        // First the word, so that an agent that wakes up amid the work knows.
        file_.header.generation.fetch_add(1);
        (void)put_back("the agent hangs");  // and it may yet die
      }
    }
  }

 private:
  int pause_ms() const {
    using std::chrono::ceil;
    using std::chrono::milliseconds;
    return static_cast<int>(ceil<milliseconds>(watch_.pause()).count());
  }

  // Locked memory is what has been touched: a restore waits for no page.
  void touch_new_records() {
    const std::uint32_t count =
        std::min(file_.header.count.load(), kBaselineRecordsMax);
    for (; touched_ < count; ++touched_) {
      (void)file_.records[touched_].state.load();
    }
  }

  int put_back(const char* why) {
    const Instant begun = monotonic_now();
    RestoreReport report = restore_all(arguments_.mount_fd, file_);
    const RestoreReport first = report;
    for (int i = 1; i < kAttempts && report.failed > 0; ++i) {
      (void)::poll(nullptr, 0, kAttemptPauseMs);
      report = restore_all(arguments_.mount_fd, file_);
    }
    say(why, first, report.failed, monotonic_now() - begun);
    return report.failed == 0 ? 0 : kExitError;
  }

  static void say(const char* why, const RestoreReport& report,
                  std::uint32_t failed, Duration took) {
    std::array<char, 256> line;
    const int bytes = std::snprintf(
        line.data(), line.size(),
        "outrider-warden: %s: restored %u knobs in %lld us; %u held their "
        "baseline, %u are somebody else's now, %u are gone, %u records are "
        "bad, %u failed\n",
        why, report.restored + report.failed - failed,
        static_cast<long long>(took.count() / 1000), report.already,
        report.foreign, report.gone, report.bad, failed);
    // Nobody may be there to read it.
    (void)!::write(STDERR_FILENO, line.data(),
                   std::min<std::size_t>(static_cast<std::size_t>(bytes),
                                         line.size() - 1));
  }

  Arguments arguments_;
  BaselineFile& file_;
  std::optional<Lifeline> lifeline_;  // none: the pidfd tells, later
  HangWatch watch_;
  std::uint32_t touched_ = 0;
};

int complain(const Error& error) {
  (void)std::fprintf(stderr, "outrider-warden: %s: %s\n", error.what.c_str(),
                     std::strerror(error.code));
  return kExitError;
}

int run(const Arguments& arguments) {
  outlive_the_agent();
  auto boot_id = read_boot_id();
  if (!boot_id) return complain(boot_id.error());
  // The program whole; of the table, which is sparse, what is used.
  tolerate(::mlockall(MCL_CURRENT), "mlockall");
  tolerate(::mlockall(MCL_FUTURE | MCL_ONFAULT), "mlockall");
  auto mapping = BaselineMapping::map(arguments.table_fd);
  if (!mapping) return complain(mapping.error());
  if (!mapping->is_of(*boot_id)) {
    return complain({EINVAL, "no table of baselines of this boot"});
  }
  auto lifeline = Lifeline::open(arguments.lifeline_fd);
  if (!lifeline) return complain(lifeline.error());
  prioritise(arguments.priority);
  Warden warden{arguments, mapping->file(), *std::move(lifeline)};
  if (arguments.ready_fd >= 0) {
    (void)!::write(arguments.ready_fd, "1", 1);  // the agent is gone: then we
    (void)::close(arguments.ready_fd);           // notice at once
  }
  return warden.run();
}

}  // namespace
}  // namespace outrider

int main(int count, char** words) {
  outrider::Arguments arguments;
  const std::span<char*> all{words, static_cast<std::size_t>(count)};
  if (!outrider::parse(all.subspan(1), arguments)) {
    (void)std::fputs(outrider::kUsage, stderr);
    return outrider::kExitUsage;
  }
  return outrider::run(arguments);
}
