// SPDX-License-Identifier: Apache-2.0
// `outrider record FILE`: what the daemon sees, to a file.
#include "agent/cli/record.h"

#include <fmt/format.h>
#include <signal.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "agent/cli/ask.h"
#include "agent/cli/recorder.h"
#include "agent/control_sample.h"
#include "agent/sys/clock.h"

namespace outrider {
namespace {

constexpr Duration kLookAround = std::chrono::milliseconds{200};
constexpr Duration kPatience = std::chrono::seconds{10};  // beyond the period

volatile sig_atomic_t the_end_was_asked_for = 0;

extern "C" void ask_for_the_end(int) { the_end_was_asked_for = 1; }

// ^C ends a recording as it should be ended.
void catch_the_end() {
  struct sigaction action {};
  action.sa_handler = ask_for_the_end;
  action.sa_flags = SA_RESETHAND;  // the second ^C ends it anyhow
  sigset_t endings;
  sigemptyset(&endings);
  for (const int signal_number : {SIGINT, SIGTERM, SIGHUP}) {
    ::sigaction(signal_number, &action, nullptr);
    sigaddset(&endings, signal_number);
  }
  // Whoever started us may have had them blocked.
  ::sigprocmask(SIG_UNBLOCK, &endings, nullptr);
}

Failure failure(const std::string& file, const Error& error) {
  std::string what = fmt::format("{}: {}", file, error.what);
  if (error.code != 0) what += fmt::format(": {}", std::strerror(error.code));
  return {kExitError, std::move(what)};
}

std::string watch_request(const RecordOptions& options) {
  std::string request;
  JsonText{request}
      .object()
      .member("verb", "watch")
      .member("period_ms", options.period_ms)
      .end();
  return request;
}

// A line of the stream goes to the file.
Result<> take_line(const json_t* line, Recorder& recorder) {
  if (has_identities(line)) {
    auto vms = parse_identities(line);
    if (!vms) return tl::unexpected<Error>(std::move(vms.error()));
    auto told = recorder.identify(*vms);
    if (!told) return told;
  }
  auto sample = parse_sample(line);
  if (!sample) return tl::unexpected<Error>(std::move(sample.error()));
  return recorder.add(*sample);
}

struct Recording {
  Recorder recorder;
  std::int64_t dropped = 0;
};

// Until time is up or the end is asked for; what was wrong before that.
Answer<void> record_stream(ControlClient& client, const RecordOptions& options,
                           Recording& recording) {
  const Instant begin = monotonic_now();
  const Duration period = std::chrono::milliseconds{options.period_ms};
  Instant last_line = begin;
  while (the_end_was_asked_for == 0) {
    const Instant now = monotonic_now();
    if (options.seconds > 0 &&
        now - begin >= std::chrono::duration<double>(options.seconds))
      return {};
    auto reply = client.receive(kLookAround);
    if (!reply && reply.error().code == ETIMEDOUT &&
        now - last_line < period + kPatience)
      continue;
    if (!reply)
      return tl::unexpected<Failure>(Failure{kExitError, reply.error().what});
    last_line = now;
    const json_t* line = reply->json.get();
    if (!json_is_true(json_object_get(line, "ok")))
      return tl::unexpected<Failure>(
          Failure{kExitError, text_at(line, "error")});
    recording.dropped += count_at(line, "dropped");
    auto taken = take_line(line, recording.recorder);
    if (!taken)
      return tl::unexpected<Failure>(failure(options.file, taken.error()));
  }
  return {};
}

int report(const RecordOptions& options, const Recording& recording,
           const CommonOptions& common) {
  if (common.json) {
    std::string out;
    JsonText{out}
        .object()
        .member("ok", true)
        .member("schema", 1)
        .member("file", options.file)
        .member("samples", recording.recorder.samples())
        .member("bytes", recording.recorder.bytes())
        .member("dropped", recording.dropped)
        .end();
    return put(out + '\n') ? kExitOk : kExitError;
  }
  return put(fmt::format("{}: {} samples, {} bytes, {} dropped\n", options.file,
                         recording.recorder.samples(),
                         recording.recorder.bytes(), recording.dropped))
             ? kExitOk
             : kExitError;
}

int run_record(const RecordOptions& options, const CommonOptions& common) {
  auto client = connect_to_daemon(common.socket);
  if (!client) return complain(client.error());
  auto recorder = Recorder::open(options.file, options.overwrite);
  if (!recorder)
    return complain(recorder.error().code == EEXIST
                        ? Failure{kExitError, recorder.error().what}
                        : failure(options.file, recorder.error()));
  auto sent = client->send(watch_request(options));
  if (!sent) return complain({kExitError, sent.error().what});
  catch_the_end();
  Recording recording{.recorder = *std::move(recorder)};
  auto recorded = record_stream(*client, options, recording);
  const int reported = report(options, recording, common);
  return recorded ? reported : complain(recorded.error());
}

void add_options(CLI::App& app, RecordOptions& options) {
  app.add_option("FILE", options.file, "the record")->required();
  auto* replay = app.add_flag("--replay", options.replay,
                              "show FILE instead, like `top` would have");
  app.add_option("--seconds", options.seconds,
                 "end after so long; default: on ^C")
      ->check(CLI::PositiveNumber)
      ->excludes(replay);
  app.add_option("--period-ms", options.period_ms, "time between samples")
      ->check(CLI::Range(5, 3'600'000))
      ->capture_default_str()
      ->excludes(replay);
  app.add_flag(
         "--force",
         [&options](std::int64_t) {
           options.overwrite = Recorder::Overwrite::kYes;
         },
         "overwrite FILE")
      ->excludes(replay);
  app.add_option("--interval", options.interval,
                 "of a replay: seconds of a table")
      ->check(CLI::Range(0.005, 86'400.0))
      ->capture_default_str()
      ->needs(replay);
  app.add_flag("--csv", options.flags.csv,
               "of a replay: comma-separated values")
      ->needs(replay);
  app.add_flag("--vcpus", options.flags.vcpus,
               "of a replay: a row for each vCPU")
      ->needs(replay);
  app.footer(
      "examples:\n"
      "  outrider record night.rec --seconds 3600 --period-ms 100\n"
      "  outrider record night.rec --replay --interval 60\n"
      "  outrider record night.rec --replay --csv >night.csv");
}

}  // namespace

void add_record(const CommandSite& site) {
  auto options = std::make_shared<RecordOptions>();
  CLI::App* app = site.parent.add_subcommand(
      "record", "samples to a compact file, or such a file back");
  add_options(*app, *options);
  app->callback([site, options] {
    site.chosen = [site, options] {
      return options->replay ? run_replay(*options, site.common)
                             : run_record(*options, site.common);
    };
  });
}

}  // namespace outrider
