// SPDX-License-Identifier: Apache-2.0
// `outrider vm resize`: asks for another size and shows how it comes about.
#include <fmt/format.h>
#include <unistd.h>

#include <memory>
#include <thread>
#include <utility>

#include "agent/cli/ask.h"
#include "agent/cli/commands.h"

namespace outrider {
namespace {

constexpr auto kPause = std::chrono::milliseconds{50};

struct ResizeOption {
  std::string vm;
  std::uint64_t memory_bytes = 0;  // 0: as it is
  std::int64_t vcpus = 0;          // likewise
  double timeout_s = 60;
  bool dry_run = false;
};

std::string resize_request(const ResizeOption& option) {
  std::string request;
  JsonText json{request};
  json.object().member("verb", "vm.resize").member("vm", option.vm);
  if (option.memory_bytes > 0) json.member("memory_bytes", option.memory_bytes);
  if (option.vcpus > 0) json.member("vcpus", option.vcpus);
  json.member("patience_ms",
              static_cast<std::int64_t>(option.timeout_s * 1000));
  if (option.dry_run) json.member("dry_run", true);
  json.end();
  return request;
}

std::string state_request(const std::string& vm) {
  std::string request;
  JsonText{request}
      .object()
      .member("verb", "vm.resize_state")
      .member("vm", vm)
      .end();
  return request;
}

std::string mib(const json_t* object, const char* name) {
  return std::to_string(count_at(object, name) >> 20);
}

bool is_memory(const json_t* step) {
  return json_object_get(step, "from_bytes") != nullptr;
}

std::string step_text(const json_t* step) {
  std::string text =
      fmt::format("{} {}", text_at(step, "what"), text_at(step, "device"));
  if (is_memory(step)) {
    text += fmt::format(": {} -> {} MiB", mib(step, "from_bytes"),
                        mib(step, "to_bytes"));
  }
  return text;
}

std::string size_text(const json_t* state) {
  return fmt::format("{} MiB, {} vCPUs", mib(state, "memory_bytes"),
                     count_at(state, "vcpus"));
}

/// Says each step once it is done, and on a terminal how far the one under way
/// is.
class Narrator {
 public:
  explicit Narrator(bool is_silent)
      : is_silent_(is_silent), is_terminal_(isatty(STDERR_FILENO) == 1) {}

  void tell(const json_t* state) {
    if (is_silent_) return;
    const json_t* steps = json_object_get(state, "steps");
    for (std::size_t i = told_; i < json_array_size(steps); ++i) {
      const json_t* step = json_array_get(steps, i);
      const std::string its = text_at(step, "state");
      if (its == "moving") tell_moving(step);
      if (its != "done") return;
      ++told_;
      wipe();
      put(fmt::format("{}, in {:.2f} s\n", step_text(step),
                      static_cast<double>(count_at(step, "took_us")) / 1e6));
      std::fflush(stdout);
    }
  }

  void wipe() {
    if (std::exchange(is_on_line_, false)) fmt::print(stderr, "\r\033[K");
  }

 private:
  void tell_moving(const json_t* step) {
    if (!is_terminal_) return;
    wipe();
    fmt::print(stderr, "{}", step_text(step));
    if (is_memory(step)) {
      fmt::print(stderr, ", {} now", mib(step, "reached_bytes"));
    }
    fmt::print(stderr, " ...");
    std::fflush(stderr);
    is_on_line_ = true;
  }

  bool is_silent_;
  bool is_terminal_;
  bool is_on_line_ = false;
  std::size_t told_ = 0;
};

int tell_plan(const json_t* state) {
  const json_t* steps = json_object_get(state, "steps");
  std::string text = "it has " + size_text(state) + '\n';
  if (json_array_size(steps) == 0) text += "nothing would be done\n";
  for (std::size_t i = 0; i < json_array_size(steps); ++i) {
    text += "would: " + step_text(json_array_get(steps, i)) + '\n';
  }
  return put(text) ? kExitOk : kExitError;
}

int tell_end(const CommonOptions& common, const ControlReply& reply) {
  const json_t* state = reply.json.get();
  const std::string phase = text_at(state, "phase");
  const bool has_failed = phase == "failed";
  if (common.json) {
    if (!put(reply.text + '\n')) return kExitError;
    return has_failed ? kExitError : kExitOk;
  }
  if (phase == "planned") return tell_plan(state);
  if (has_failed) return complain({kExitError, text_at(state, "why")});
  return put("done: it has " + size_text(state) + '\n') ? kExitOk : kExitError;
}

int run_resize(const CommonOptions& common, const ResizeOption& option) {
  if (option.memory_bytes == 0 && option.vcpus == 0) {
    return complain({kExitUsage, "vm resize: want --memory, --vcpus or both"});
  }
  auto client = connect_to_daemon(common.socket);
  if (!client) return complain(client.error());
  const auto started = ask(*client, resize_request(option));
  if (!started) return complain(started.error());
  Narrator narrator{common.json};
  while (true) {
    auto state = ask(*client, state_request(option.vm));
    if (!state) {
      narrator.wipe();
      return complain(state.error());
    }
    narrator.tell(state->json.get());
    const std::string phase = text_at(state->json.get(), "phase");
    if (phase != "looking" && phase != "moving") {
      narrator.wipe();
      return tell_end(common, *state);
    }
    std::this_thread::sleep_for(kPause);
  }
}

}  // namespace

void add_vm_resize(CLI::App& vm, const CommandSite& site) {
  auto option = std::make_shared<ResizeOption>();
  CLI::App* app = vm.add_subcommand(
      "resize", "give it more or less memory, or vCPUs, while it runs");
  app->add_option("VM", option->vm, "which")->required();
  app->add_option("--memory", option->memory_bytes,
                  "all that it is to have, e.g. 4Gi or 1536Mi")
      ->transform(CLI::AsSizeValue(false));
  app->add_option("--vcpus", option->vcpus, "likewise")
      ->check(CLI::Range(1, 8192));
  app->add_option("--timeout", option->timeout_s,
                  "give a step up after so many seconds")
      ->check(CLI::Range(0.1, 3600.0))
      ->capture_default_str();
  app->add_flag("--dry-run", option->dry_run, "only say what would be done");
  app->footer(
      "Memory comes and goes by virtio-mem, DIMMs and the balloon, as QEMU "
      "was\n"
      "started with them; vCPUs up to its -smp maxcpus. A step is done when "
      "the\n"
      "guest has done it. What a guest refuses ends the whole and is said; "
      "what\n"
      "was done before stays. Interrupted, it goes on.");
  app->callback([site, option] {
    site.chosen = [site, option] { return run_resize(site.common, *option); };
  });
}

}  // namespace outrider
