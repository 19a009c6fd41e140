// SPDX-License-Identifier: Apache-2.0
// `outrider allocations` and `outrider explain`: what the control loop does.
#include <chrono>
#include <limits>
#include <memory>
#include <thread>

#include "agent/cli/ask.h"
#include "agent/cli/commands.h"
#include "agent/cli/journal_explain.h"
#include "agent/cli/reply_text.h"
#include "agent/cli/terminal.h"
#include "agent/config.h"
#include "agent/sys/clock.h"

namespace outrider {
namespace {

constexpr char kEscape = 0x1b;
constexpr char kControlC = 0x03;

struct WatchOptions {
  bool watch = false;
  double interval = 1;  // seconds
  std::uint64_t count = std::numeric_limits<std::uint64_t>::max();
};

constexpr const char* kColumns =
    "columns, in CPUs:\n"
    "  DEMAND   what it would use if nothing limited it; <= an upper bound\n"
    "  TARGET   what it ought to hold\n"
    "  CAP      what its cpu.max says; - no cap\n"
    "  RESERVE  set aside beyond that; LENT of it to lower classes\n"
    "  LOAN     held out of others' reserves\n"
    "  P50..99  quantiles of the peak over the prediction horizon\n"
    "  REASON   the rule that bound TARGET, or why it is left alone";

constexpr const char* kRequest = R"({"verb":"allocations"})";

// Until the deadline; false when the user has had enough.
bool attend(Instant deadline) {
  for (;;) {
    const Terminal::Event event = Terminal::wait(deadline);
    if (event.wake == Terminal::Wake::kTime) return true;
    if (event.wake == Terminal::Wake::kGone || event.key == 'q' ||
        event.key == kEscape || event.key == kControlC)
      return false;
  }
}

Duration interval_of(const WatchOptions& options) {
  return std::chrono::duration_cast<Duration>(
      std::chrono::duration<double>(options.interval));
}

Answer<void> watch_live(ControlClient& client, const WatchOptions& options) {
  auto terminal = Terminal::open();
  if (!terminal)
    return tl::unexpected<Failure>({kExitError, terminal.error().what});
  for (std::uint64_t i = 0; i < options.count; ++i) {
    auto reply = ask(client, kRequest);
    if (!reply) return tl::unexpected<Failure>(std::move(reply.error()));
    Terminal::draw("q quit\n" + allocations_text(reply->json.get()));
    if (!attend(monotonic_now() + interval_of(options))) return {};
  }
  return {};
}

// One table, or one JSON object a line, after another.
int run_batch(ControlClient& client, const CommonOptions& common,
              const WatchOptions& options) {
  for (std::uint64_t i = 0; i < options.count; ++i) {
    if (i > 0) std::this_thread::sleep_for(interval_of(options));
    const auto reply = ask(client, kRequest);
    if (!reply) return complain(reply.error());
    if (!put(common.json ? reply->text + '\n'
                         : allocations_text(reply->json.get())))
      return kExitError;
  }
  return kExitOk;
}

int run_allocations(const CommonOptions& common, WatchOptions options) {
  if (!options.watch) options.count = 1;
  auto client = connect_to_daemon(common.socket);
  if (!client) return complain(client.error());
  if (!options.watch || common.json || !Terminal::is_there())
    return run_batch(*client, common, options);
  const auto watched = watch_live(*client, options);
  return watched ? kExitOk : complain(watched.error());
}

int run_explain(const CommonOptions& common, const std::string& vm) {
  std::string request;
  JsonText{request}.object().member("verb", "explain").member("vm", vm).end();
  const auto reply = ask(common.socket, request);
  if (!reply) return complain(reply.error());
  return put(common.json ? reply->text + '\n' : explain_text(reply->json.get()))
             ? kExitOk
             : kExitError;
}

}  // namespace

void add_allocations(const CommandSite& site) {
  auto options = std::make_shared<WatchOptions>();
  CLI::App* app = site.parent.add_subcommand(
      "allocations", "what every VM demands, holds and has in reserve");
  auto* watch = app->add_flag("--watch", options->watch, "again and again");
  app->add_option("--interval", options->interval, "seconds between tables")
      ->check(CLI::Range(0.05, 3600.0))
      ->capture_default_str()
      ->needs(watch);
  app->add_option("--count", options->count, "end after so many tables")
      ->check(CLI::PositiveNumber)
      ->default_str("no end")
      ->needs(watch);
  app->footer(kColumns);
  app->callback([site, options] {
    site.chosen = [site, options] {
      return run_allocations(site.common, *options);
    };
  });
}

void add_explain(const CommandSite& site) {
  auto wanted = std::make_shared<ExplainAt>();
  wanted->journal = JournalConfig{}.directory;
  CLI::App* app = site.parent.add_subcommand(
      "explain", "why a VM holds what it holds: from signals to writes");
  app->add_option("VM", wanted->vm, "name, UUID or number")->required();
  auto* at = app->add_option("--at", wanted->time,
                             "then, by the journal: 2026-11-20T16:22:36Z");
  app->add_option("--journal", wanted->journal, "a directory or a segment")
      ->capture_default_str()
      ->needs(at);
  app->callback([site, wanted] {
    site.chosen = [site, wanted] {
      return wanted->time.empty() ? run_explain(site.common, wanted->vm)
                                  : run_explain_at(*wanted, site.common);
    };
  });
}

}  // namespace outrider
