// SPDX-License-Identifier: Apache-2.0
#include "agent/cli/run.h"

#include <CLI/CLI.hpp>

#include "agent/cli/commands.h"
#include "agent/cli/exit_code.h"
#include "agent/config.h"

namespace outrider {
namespace {

constexpr const char* kFooter =
    "examples:\n"
    "  outrider doctor                      what this host can do\n"
    "  outrider top                         demand, usage and wait, live\n"
    "  outrider top --batch --csv --count 60 >minute.csv\n"
    "  outrider vm show web-3 --json\n"
    "  outrider explain web-3               why it holds what it holds\n"
    "  outrider mode enforce --dry-run      what would be written\n"
    "  outrider record night.rec --seconds 3600\n"
    "  outrider release --dry-run           what a release would write\n"
    "  outrider replay /var/lib/outrider/journal --policy new.yaml\n"
    "\n"
    "exit codes: 0 ok, 1 error, 2 usage, 3 degraded, 4 refused";

}  // namespace

int run_outrider(int argc, const char* const* argv) {
  CLI::App app{
      "Tells what each VM demands and holds, and says how far outriderd "
      "goes.",
      "outrider"};
  CommonOptions common{.socket = ControlConfig{}.socket, .json = false};
  Command chosen;
  app.add_option("--socket", common.socket, "outriderd's control socket")
      ->capture_default_str();
  app.add_flag("--json", common.json, "one JSON object, with its schema");
  app.set_version_flag("--version", "outrider " OUTRIDER_VERSION);
  app.require_subcommand(1);
  app.fallthrough();  // --json and --socket may follow the subcommand
  app.footer(kFooter);
  const CommandSite site{app, common, chosen};
  add_doctor(site);
  add_status(site);
  add_mode(site);
  add_vm(site);
  add_allocations(site);
  add_explain(site);
  add_memory(site);
  add_top(site);
  add_record(site);
  add_release(site);
  add_replay(site);
  add_eval(site);
  add_config(site);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitOk : kExitUsage;
  }
  return chosen();
}

}  // namespace outrider
