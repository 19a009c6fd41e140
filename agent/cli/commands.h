// SPDX-License-Identifier: Apache-2.0
// The subcommands, one file each. Each adds its options and, when it is the
// one that was called, puts what it does into `chosen`.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

namespace outrider {

struct CommonOptions {
  std::string socket;
  bool json = false;
};

/// Does it; gives the exit code.
using Command = std::function<int()>;

/// Where a subcommand is added.
struct CommandSite {
  CLI::App& parent;
  const CommonOptions& common;  // filled in when `chosen` runs
  Command& chosen;
};

void add_status(const CommandSite& site);
void add_doctor(const CommandSite& site);
void add_config(const CommandSite& site);
void add_vm(const CommandSite& site);
void add_mode(const CommandSite& site);
void add_allocations(const CommandSite& site);
void add_explain(const CommandSite& site);
void add_memory(const CommandSite& site);
void add_top(const CommandSite& site);
void add_record(const CommandSite& site);
void add_release(const CommandSite& site);
void add_replay(const CommandSite& site);
void add_eval(const CommandSite& site);

/// Those of `outrider vm` that steer the control loop.
void add_vm_verbs(CLI::App& vm, const CommandSite& site);
/// The one that gives a VM another size.
void add_vm_resize(CLI::App& vm, const CommandSite& site);
/// Those that take along what was learned.
void add_vm_learned(CLI::App& vm, const CommandSite& site);

}  // namespace outrider
