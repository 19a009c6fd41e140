// SPDX-License-Identifier: Apache-2.0
// `outrider vm list|show|attach|detach`; those that steer are in mode.cpp.
#include <fmt/format.h>

#include <memory>
#include <vector>

#include "agent/cli/ask.h"
#include "agent/cli/commands.h"
#include "agent/cli/table.h"

namespace outrider {
namespace {

struct VmOptions {
  std::string name;
  std::string cgroup;
  std::int64_t pid = 0;
};

std::string request_for(std::string_view verb, std::string_view vm) {
  std::string request;
  JsonText{request}.object().member("verb", verb).member("vm", vm).end();
  return request;
}

std::string dash_if_empty(const std::string& text) {
  return text.empty() ? "-" : text;
}

std::vector<std::string> vm_row(const json_t* vm) {
  return {std::to_string(count_at(vm, "id")),
          text_at(vm, "name"),
          std::to_string(count_at(vm, "pid")),
          text_at(vm, "origin"),
          dash_if_empty(text_at(vm, "uuid")),
          dash_if_empty(text_at(vm, "cgroup"))};
}

int run_list(const CommonOptions& common) {
  const auto reply = ask(common.socket, R"({"verb":"vm.list"})");
  if (!reply) return complain(reply.error());
  if (common.json) return put(reply->text + '\n') ? kExitOk : kExitError;
  std::vector<std::vector<std::string>> rows = {
      {"ID", "NAME", "PID", "FOUND BY", "UUID", "CGROUP"}};
  const json_t* vms = json_object_get(reply->json.get(), "vms");
  for (std::size_t i = 0; i < json_array_size(vms); ++i)
    rows.push_back(vm_row(json_array_get(vms, i)));
  return put(table_text(rows)) ? kExitOk : kExitError;
}

std::string cpus(const json_t* object, const char* name) {
  return fmt::format("{:.3f}",
                     static_cast<double>(count_at(object, name)) / 1000);
}

std::string demand_text(const json_t* demand) {
  if (demand == nullptr) return "demand: not known yet\n";
  std::vector<std::vector<std::string>> rows = {
      {"CPUS", "DEMAND", "OPEN WAIT", "USAGE", "HALT POLL", "WAIT"}};
  for (const char* name : {"total", "vcpu", "emulator", "iothread", "vhost"}) {
    const json_t* its = json_object_get(demand, name);
    rows.push_back({name, cpus(its, "demand_mcpu"), cpus(its, "open_wait_mcpu"),
                    cpus(its, "usage_mcpu"), cpus(its, "halt_poll_mcpu"),
                    cpus(its, "wait_mcpu")});
  }
  std::string out = table_text(rows);
  if (json_is_true(json_object_get(demand, "upper_bound")))
    out += "demand is an upper bound: a vCPU wants to run and is held back\n";
  return out + fmt::format("throttled {} CPUs, {} wake-ups, {} migrations\n",
                           cpus(demand, "throttled_mcpu"),
                           count_at(demand, "wakeups"),
                           count_at(demand, "migrations"));
}

std::string threads_text(const json_t* threads) {
  std::vector<std::vector<std::string>> rows = {
      {"TID", "CLASS", "VCPU", "RUN ms", "WAIT ms"}};
  for (std::size_t i = 0; i < json_array_size(threads); ++i) {
    const json_t* thread = json_array_get(threads, i);
    const bool is_vcpu = json_object_get(thread, "vcpu") != nullptr;
    rows.push_back({std::to_string(count_at(thread, "tid")),
                    text_at(thread, "class"),
                    is_vcpu ? std::to_string(count_at(thread, "vcpu")) : "-",
                    std::to_string(count_at(thread, "run_ns") / 1'000'000),
                    std::to_string(count_at(thread, "wait_ns") / 1'000'000)});
  }
  return table_text(rows);
}

int run_show(const CommonOptions& common, const std::string& name) {
  const auto reply = ask(common.socket, request_for("vm.show", name));
  if (!reply) return complain(reply.error());
  if (common.json) return put(reply->text + '\n') ? kExitOk : kExitError;
  const json_t* vm = json_object_get(reply->json.get(), "vm");
  const std::string text = fmt::format(
      "{}: VM {}, pid {}, found by {}\n  uuid    {}\n"
      "  cgroup  {}\n\n{}\n{}",
      text_at(vm, "name"), count_at(vm, "id"), count_at(vm, "pid"),
      text_at(vm, "origin"), dash_if_empty(text_at(vm, "uuid")),
      dash_if_empty(text_at(vm, "cgroup")),
      demand_text(json_object_get(reply->json.get(), "demand")),
      threads_text(json_object_get(reply->json.get(), "threads")));
  return put(text) ? kExitOk : kExitError;
}

// For the verbs that change something: "attached web-3: VM 7, pid 4242".
int run_change(const CommonOptions& common, const std::string& request,
               std::string_view done) {
  const auto reply = ask(common.socket, request);
  if (!reply) return complain(reply.error());
  if (common.json) return put(reply->text + '\n') ? kExitOk : kExitError;
  const json_t* vm = json_object_get(reply->json.get(), "vm");
  const std::string text =
      fmt::format("{} {}: VM {}, pid {}\n", done, text_at(vm, "name"),
                  count_at(vm, "id"), count_at(vm, "pid"));
  return put(text) ? kExitOk : kExitError;
}

std::string attach_request(const VmOptions& options) {
  std::string request;
  JsonText json{request};
  json.object().member("verb", "vm.attach").member("pid", options.pid);
  if (!options.cgroup.empty()) json.member("cgroup", options.cgroup);
  if (!options.name.empty()) json.member("name", options.name);
  json.end();
  return request;
}

void add_attach(CLI::App& vm, const CommandSite& site) {
  auto options = std::make_shared<VmOptions>();
  CLI::App* app = vm.add_subcommand(
      "attach", "watch a process that runs a VM and was not found (root)");
  app->add_option("--pid", options->pid, "the process")
      ->required()
      ->check(CLI::Range(1, 1 << 22));
  app->add_option("--cgroup", options->cgroup,
                  "its cgroup, below the cgroup mount; default: its own");
  app->add_option("--name", options->name, "what to call it");
  app->callback([site, options] {
    site.chosen = [site, options] {
      return run_change(site.common, attach_request(*options), "attached");
    };
  });
}

}  // namespace

void add_vm(const CommandSite& site) {
  CLI::App* vm = site.parent.add_subcommand("vm", "the VMs of this host");
  vm->require_subcommand(1);
  vm->fallthrough();
  vm->footer("VM is a name, a UUID or a number of `outrider vm list`.");
  vm->add_subcommand("list", "those that are watched")->callback([site] {
    site.chosen = [site] { return run_list(site.common); };
  });
  auto name = std::make_shared<std::string>();
  CLI::App* show = vm->add_subcommand(
      "show", "one VM: who it is, what it demands, its threads");
  show->add_option("VM", *name, "which")->required();
  show->callback([site, name] {
    site.chosen = [site, name] { return run_show(site.common, *name); };
  });
  add_attach(*vm, site);
  CLI::App* detach = vm->add_subcommand(
      "detach", "watch it no more (group outrider, or root)");
  detach->add_option("VM", *name, "which")->required();
  detach->callback([site, name] {
    site.chosen = [site, name] {
      return run_change(site.common, request_for("vm.detach", *name),
                        "detached");
    };
  });
  add_vm_resize(*vm, site);
  add_vm_verbs(*vm, site);
  add_vm_learned(*vm, site);
}

}  // namespace outrider
