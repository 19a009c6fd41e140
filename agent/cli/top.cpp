// SPDX-License-Identifier: Apache-2.0
// `outrider top`: demand between its own two successive Samples, again and
// again: live in a terminal, or as tables, CSV or JSON lines one after another.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <ctime>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "agent/cli/ask.h"
#include "agent/cli/commands.h"
#include "agent/cli/frame.h"
#include "agent/cli/terminal.h"
#include "agent/control_sample.h"
#include "agent/core/demand.h"
#include "agent/sys/clock.h"

namespace outrider {
namespace {

constexpr Duration kFirstLook = std::chrono::milliseconds{250};
constexpr char kEscape = 0x1b;
constexpr char kControlC = 0x03;

struct TopOptions {
  double interval = 1;  // seconds
  std::uint64_t count = std::numeric_limits<std::uint64_t>::max();
  bool batch = false;
  FrameFlags flags;
  std::string sort{view_sort_names().front()};
};

// "2026-11-20T13:33:03.250+0000"
std::string time_text() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  tm local{};
  ::localtime_r(&now.tv_sec, &local);
  std::array<char, 32> date{};
  std::array<char, 8> zone{};
  std::strftime(date.data(), date.size(), "%Y-%m-%dT%H:%M:%S", &local);
  std::strftime(zone.data(), zone.size(), "%z", &local);
  return fmt::format("{}.{:03}{}", date.data(), now.tv_nsec / 1'000'000,
                     zone.data());
}

Duration to_duration(double seconds) {
  return Duration{std::llround(seconds * 1e9)};
}

void sleep_until(Instant deadline) {
  const auto since = deadline.time_since_epoch();
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(since);
  const timespec until{.tv_sec = seconds.count(),
                       .tv_nsec = (since - seconds).count()};
  while (::clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr) ==
         EINTR) {
  }
}

/// The daemon's Samples and what follows from them.
/// Invariant: `demand` is between the two Samples taken last.
class Watcher {
 public:
  explicit Watcher(ControlClient client) : client_(std::move(client)) {}

  Answer<void> look() {
    auto reply = ask(client_, R"({"verb":"sample"})");
    if (!reply) return tl::unexpected<Failure>(std::move(reply.error()));
    auto vms = parse_identities(reply->json.get());
    auto sample = parse_sample(reply->json.get());
    if (!vms) return tl::unexpected<Failure>({kExitError, vms.error().what});
    if (!sample)
      return tl::unexpected<Failure>({kExitError, sample.error().what});
    names_.clear();
    for (const Vm& vm : *vms) put_name(names_, {vm.id, vm.identity.name});
    time_ = time_text();
    sample_ = *std::move(sample);
    demand_ = &series_.update(sample_);
    return {};
  }

  View view() const { return {time_, sample_, *demand_, names_}; }

 private:
  ControlClient client_;
  DemandSeries series_;
  Sample sample_;
  std::vector<VmName> names_;
  std::string time_;
  const Demand* demand_ = nullptr;  // of series_; set by the first look
};

int run_batch(Watcher& watcher, const TopOptions& options,
              const FrameChoice& choice) {
  Frames frames{choice};
  const Duration interval = to_duration(options.interval);
  Instant next = monotonic_now();
  for (std::uint64_t i = 0; i < options.count; ++i) {
    // What came late is not caught up.
    next = std::max(next + interval, monotonic_now());
    sleep_until(next);
    auto looked = watcher.look();
    if (!looked) return complain(looked.error());
    if (!put(frames.next(watcher.view()))) return kExitError;
  }
  return kExitOk;
}

// Whether to go on.
bool obey(char key, ViewOptions& options) {
  using Threads = ViewOptions::Threads;
  if (key == 'q' || key == kEscape || key == kControlC) return false;
  if (key == 's')
    options.sort =
        static_cast<ViewSort>((static_cast<std::size_t>(options.sort) + 1) %
                              view_sort_names().size());
  if (key == 'v')
    options.threads =
        options.threads == Threads::kShown ? Threads::kHidden : Threads::kShown;
  return true;
}

std::string screen_text(const Watcher& watcher, const ViewOptions& options) {
  return fmt::format("q quit   s sort by {}   v vCPUs\n{}",
                     view_sort_names()[static_cast<std::size_t>(options.sort)],
                     view_table(watcher.view(), options));
}

// Keys until the deadline; false when the user has had enough.
bool attend(const Watcher& watcher, Instant deadline, ViewOptions& options) {
  for (;;) {
    Terminal::draw(screen_text(watcher, options));
    const Terminal::Event event = Terminal::wait(deadline);
    if (event.wake == Terminal::Wake::kTime) return true;
    if (event.wake == Terminal::Wake::kGone || !obey(event.key, options))
      return false;
  }
}

Answer<void> watch_live(Watcher& watcher, const TopOptions& options,
                        ViewOptions view_options) {
  auto terminal = Terminal::open();
  if (!terminal)
    return tl::unexpected<Failure>({kExitError, terminal.error().what});
  const Duration interval = to_duration(options.interval);
  Instant next = monotonic_now() + std::min(interval, kFirstLook);
  for (std::uint64_t i = 0; i < options.count; ++i) {
    if (!attend(watcher, next, view_options)) return {};
    auto looked = watcher.look();
    if (!looked) return looked;
    next = monotonic_now() + interval;
  }
  return {};
}

int run_top(const TopOptions& options, const CommonOptions& common) {
  auto client = connect_to_daemon(common.socket);
  if (!client) return complain(client.error());
  Watcher watcher{*std::move(client)};
  auto looked = watcher.look();
  if (!looked) return complain(looked.error());
  FrameChoice choice = frame_choice(common, options.flags);
  choice.view.sort = parse_view_sort(options.sort).value_or(ViewSort::kDemand);
  if (options.batch || choice.form != FrameForm::kTable ||
      !Terminal::is_there())
    return run_batch(watcher, options, choice);
  const auto watched = watch_live(watcher, options, choice.view);
  return watched ? kExitOk : complain(watched.error());
}

}  // namespace

void add_top(const CommandSite& site) {
  auto options = std::make_shared<TopOptions>();
  CLI::App* app = site.parent.add_subcommand(
      "top", "demand, usage, wait and exits of every VM, live");
  app->add_option("--interval", options->interval, "seconds between tables")
      ->check(CLI::Range(0.05, 3600.0))
      ->capture_default_str();
  app->add_option("--count", options->count, "end after so many tables")
      ->check(CLI::PositiveNumber)
      ->default_str("no end");
  app->add_flag("--batch", options->batch,
                "one table after another; so it is without a terminal");
  app->add_flag("--csv", options->flags.csv, "comma-separated values");
  app->add_flag("--vcpus", options->flags.vcpus, "a row for each vCPU");
  app->add_option("--sort", options->sort, "what comes first")
      ->check(CLI::IsMember(std::vector<std::string>(view_sort_names().begin(),
                                                     view_sort_names().end())))
      ->capture_default_str();
  app->footer(std::string(column_help()) +
              "\n"
              "keys: q quit, s another sort, v vCPUs\n"
              "examples:\n"
              "  outrider top --sort wait\n"
              "  outrider top --batch --interval 0.1 --count 100 --vcpus\n"
              "  outrider top --json --count 1");
  app->callback([site, options] {
    site.chosen = [site, options] { return run_top(*options, site.common); };
  });
}

}  // namespace outrider
