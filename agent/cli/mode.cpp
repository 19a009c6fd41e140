// SPDX-License-Identifier: Apache-2.0
// The verbs that steer the control loop: `outrider mode` and `outrider vm
// mode|release-contention|let-go|take-up`.
#include <fmt/format.h>

#include <memory>
#include <vector>

#include "agent/cli/ask.h"
#include "agent/cli/commands.h"
#include "agent/cli/reply_text.h"
#include "agent/config_policy.h"

namespace outrider {
namespace {

struct Change {
  std::string_view verb;
  std::string vm{};
  std::string mode{};
  bool dry_run = false;
};

std::string request_for(const Change& change) {
  std::string request;
  JsonText json{request};
  json.object().member("verb", change.verb);
  if (!change.vm.empty()) json.member("vm", change.vm);
  if (!change.mode.empty()) json.member("mode", change.mode);
  if (change.dry_run) json.member("dry_run", true);
  json.end();
  return request;
}

using Sentence = std::string (*)(const json_t* reply);

// `said` is the line for people once it is done.
int run_change(const CommonOptions& common, const Change& change,
               Sentence said) {
  const auto reply = ask(common.socket, request_for(change));
  if (!reply) return complain(reply.error());
  const json_t* json = reply->json.get();
  if (common.json) return put(reply->text + '\n') ? kExitOk : kExitError;
  return put(change.dry_run ? dry_run_text(json) : said(json)) ? kExitOk
                                                               : kExitError;
}

std::string vm_text(const json_t* reply) {
  const json_t* vm = json_object_get(reply, "vm");
  return fmt::format("VM {} {}", count_at(vm, "id"), text_at(vm, "name"));
}

std::string host_mode_said(const json_t* reply) {
  return text_at(reply, "mode") + '\n';
}

std::string vm_mode_said(const json_t* reply) {
  return fmt::format(
      "{}: mode {}; in force {}, the least of host, resource and VM\n",
      vm_text(reply), text_at(reply, "mode"), text_at(reply, "effective"));
}

std::string release_said(const json_t* reply) {
  return vm_text(reply) + ": its knobs are written again\n";
}

std::string let_go_said(const json_t* reply) {
  return vm_text(reply) + ": let go, its baseline is back\n";
}

std::string take_up_said(const json_t* reply) {
  return vm_text(reply) + ": taken up again\n";
}

CLI::Validator is_mode() {
  return CLI::IsMember(
      std::vector<std::string>(kModeNames.begin(), kModeNames.end()));
}

// VM, --dry-run and the verb's own sentence.
CLI::App* add_vm_verb(const CommandSite& site,
                      const std::shared_ptr<Change>& change, CLI::App* app,
                      Sentence said) {
  app->add_option("VM", change->vm, "which")->required();
  app->add_flag("--dry-run", change->dry_run, "only say what would be written");
  app->callback([site, change, said] {
    site.chosen = [site, change, said] {
      return run_change(site.common, *change, said);
    };
  });
  return app;
}

}  // namespace

void add_mode(const CommandSite& site) {
  auto change = std::make_shared<Change>(Change{.verb = "mode"});
  CLI::App* app = site.parent.add_subcommand(
      "mode",
      "the host's mode, until outriderd ends (to set it: group "
      "outrider, or root)");
  auto* mode = app->add_option("MODE", change->mode,
                               "observe, advise or enforce; none: tell")
                   ->check(is_mode());
  app->add_flag("--dry-run", change->dry_run, "only say what would be written")
      ->needs(mode);
  app->callback([site, change] {
    site.chosen = [site, change] {
      return run_change(site.common, *change, host_mode_said);
    };
  });
}

void add_vm_verbs(CLI::App& vm, const CommandSite& site) {
  const auto verb = [](std::string_view name) {
    return std::make_shared<Change>(Change{.verb = name});
  };
  const auto mode = verb("vm.mode");
  add_vm_verb(site, mode,
              vm.add_subcommand("mode", "one VM's mode, until outriderd ends"),
              vm_mode_said)
      ->add_option("MODE", mode->mode, "observe, advise or enforce")
      ->required()
      ->check(is_mode());
  add_vm_verb(site, verb("vm.release_contention"),
              vm.add_subcommand("release-contention",
                                "write its knobs again, though somebody else "
                                "had written there"),
              release_said);
  add_vm_verb(site, verb("vm.let_go"),
              vm.add_subcommand("let-go",
                                "put its baseline back and write nothing: it "
                                "is about to migrate"),
              let_go_said);
  add_vm_verb(site, verb("vm.take_up"),
              vm.add_subcommand("take-up", "the contrary of let-go"),
              take_up_said);
}

}  // namespace outrider
