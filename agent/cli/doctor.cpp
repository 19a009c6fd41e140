// SPDX-License-Identifier: Apache-2.0
// `outrider doctor`: what this host can do. Needs no daemon.
#include "agent/doctor.h"

#include <string>

#include "agent/cli/ask.h"
#include "agent/cli/commands.h"

namespace outrider {
namespace {

int run_doctor(const CommonOptions& common) {
  const DoctorReport report = probe_host();
  std::string text = common.json ? doctor_json(report) : doctor_table(report);
  if (text.empty() || text.back() != '\n') text += '\n';
  return put(text) ? doctor_exit_code(report) : kExitError;
}

}  // namespace

void add_doctor(const CommandSite& site) {
  CLI::App* app = site.parent.add_subcommand(
      "doctor",
      "what this host can do, what is missing and what that costs; exit 3 "
      "when anything is");
  app->footer("Needs no outriderd. As root it sees all.");
  app->callback(
      [site] { site.chosen = [site] { return run_doctor(site.common); }; });
}

}  // namespace outrider
