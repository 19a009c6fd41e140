// SPDX-License-Identifier: Apache-2.0
// outriderd: from the command line to the loop.
#include <fmt/core.h>
#include <malloc.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstring>
#include <exception>
#include <string>

#include "agent/agent.h"
#include "agent/config.h"
#include "agent/control.h"
#include "agent/control_verbs.h"
#include "agent/log.h"
#include "agent/notify.h"

namespace outrider {
namespace {

// As of `outrider`.
constexpr int kExitError = 1;
constexpr int kExitUsage = 2;

struct Arguments {
  std::string config;
  bool check = false;
};

int complain(const Error& error, int code) {
  fmt::print(stderr, "outriderd: {}{}{}\n", error.what,
             error.code == 0 ? "" : ": ",
             error.code == 0 ? "" : std::strerror(error.code));
  return code;
}

// The order matters: the socket is the sign that the daemon is ready, so it is
// the last thing made.
int serve(const Config& config) {
  start_log(config.log_level);
  // What a journal's segment begins with goes back as soon as it is written.
  mallopt(M_MMAP_THRESHOLD, 128 << 10);
  auto agent = Agent::make(config);
  if (!agent) return complain(agent.error(), kExitError);
  auto server = ControlServer::make((*agent)->events(), config.control,
                                    control_verbs(**agent, config));
  if (!server) return complain(server.error(), kExitError);
  // What loading the programs took (the kernel's BTF above all) goes back.
  malloc_trim(0);
  notify_ready();
  auto ended = (*agent)->run();
  if (!ended) return complain(ended.error(), kExitError);
  return 0;
}

int run(const Arguments& arguments) {
  auto config = load_config(arguments.config);
  if (!config) return complain(config.error(), kExitUsage);
  if (arguments.check) {
    fmt::print("{}", dump_config(*config));
    return 0;
  }
  return serve(*config);
}

int run(int count, char** words) {
  CLI::App app{
      "outriderd watches what each VM of this host demands and forecasts it.\n"
      "With `mode: enforce` in its configuration it moves the VMs' CPU limits\n"
      "before the demand arrives; without, it only observes. However it ends,\n"
      "limits go back to what they were. Ask it with `outrider`.\n"
      "\n"
      "Needs root, or CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE, CAP_SYS_NICE,\n"
      "CAP_IPC_LOCK and CAP_DAC_READ_SEARCH, and CAP_DAC_OVERRIDE to enforce;\n"
      "what it has to do without, it says at its start and in `outrider "
      "status`.\n"};
  Arguments arguments;
  app.add_option("--config", arguments.config,
                 "configuration file instead of /etc/outrider/outrider.yaml "
                 "and conf.d/*.yaml beside it");
  app.add_flag("--check-config", arguments.check,
               "read the configuration, print what is in force and exit: 0, "
               "or 2 with the place and the reason");
  app.set_version_flag("--version", "outriderd " OUTRIDER_VERSION);
  try {
    app.parse(count, words);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitUsage;
  }
  return run(arguments);
}

}  // namespace
}  // namespace outrider

int main(int count, char** words) {
  try {
    return outrider::run(count, words);
  } catch (const std::exception& thrown) {  // a library's: we throw none
    fputs("outriderd: ", stderr);
    fputs(thrown.what(), stderr);
    fputs("\n", stderr);
    return outrider::kExitError;
  }
}
