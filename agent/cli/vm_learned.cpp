// SPDX-License-Identifier: Apache-2.0
// `outrider vm export|import`: what was learned of a VM goes with it.
#include <fmt/format.h>

#include <memory>
#include <string>

#include "agent/cli/ask.h"
#include "agent/cli/commands.h"
#include "agent/eval/text_file.h"

namespace outrider {
namespace {

int run_export(const CommonOptions& common, const std::string& vm) {
  std::string request;
  JsonText{request}.object().member("verb", "vm.export").member("vm", vm).end();
  const auto reply = ask(common.socket, request);
  if (!reply) return complain(reply.error());
  return put(reply->text + '\n') ? kExitOk : kExitError;
}

int run_import(const CommonOptions& common, const std::string& path) {
  const auto text = eval::read_text_file(path);
  if (!text) return complain_of(text.error());
  const Json exported{json_loadb(text->data(), text->size(), 0, nullptr)};
  const json_t* uuid = json_object_get(exported.get(), "uuid");
  const json_t* learned = json_object_get(exported.get(), "learned");
  if (!json_is_string(uuid) || !json_is_string(learned)) {
    return complain(
        {kExitUsage, path + ": want what `outrider vm export` has printed"});
  }
  std::string request;
  JsonText{request}
      .object()
      .member("verb", "vm.import")
      .member("uuid", json_string_value(uuid))
      .member("learned", json_string_value(learned))
      .end();
  const auto reply = ask(common.socket, request);
  if (!reply) return complain(reply.error());
  if (common.json) return put(reply->text + '\n') ? kExitOk : kExitError;
  return put(fmt::format("{} goes on from what was learned of it\n",
                         text_at(exported.get(), "uuid")))
             ? kExitOk
             : kExitError;
}

}  // namespace

void add_vm_learned(CLI::App& vm, const CommandSite& site) {
  auto name = std::make_shared<std::string>();
  CLI::App* give = vm.add_subcommand(
      "export",
      "print what was learned of a VM, for the host that it moves to (group "
      "outrider, or root)");
  give->add_option("VM", *name, "which")->required();
  give->callback([site, name] {
    site.chosen = [site, name] { return run_export(site.common, *name); };
  });
  CLI::App* take = vm.add_subcommand(
      "import",
      "the VM with that UUID, here or to come, goes on from an export (group "
      "outrider, or root)");
  take->add_option("FILE", *name, "what `outrider vm export` has printed")
      ->required();
  take->callback([site, name] {
    site.chosen = [site, name] { return run_import(site.common, *name); };
  });
}

}  // namespace outrider
