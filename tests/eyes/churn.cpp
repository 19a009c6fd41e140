// SPDX-License-Identifier: Apache-2.0
// VMs that come and go under the whole agent, not only its sensor.
#include <dirent.h>
#include <fmt/core.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

#include "agent/agent.h"
#include "agent/sys/clock.h"
#include "tests/eyes/checks.h"
#include "tests/eyes/observer.h"

namespace outrider::check {
namespace {

long descriptors() {
  DIR* directory = opendir("/proc/self/fd");
  long count = 0;
  while (readdir(directory) != nullptr) ++count;
  closedir(directory);
  return count;
}

pid_t start(const std::vector<std::string>& command) {
  const pid_t pid = fork();
  if (pid != 0) return pid;
  std::vector<char*> words;
  for (const std::string& word : command) {
    words.push_back(const_cast<char*>(word.c_str()));
  }
  words.push_back(nullptr);
  // Standard output is the report's.
  dup2(STDERR_FILENO, STDOUT_FILENO);
  execvp(words[0], words.data());
  _exit(127);
}

// Each lives long enough to be seen, and attached to, on a busy machine.
std::vector<std::string> churning(const std::string& minivm, int vms) {
  return {minivm,   "--churn", std::to_string(vms), "--parallel", "8",
          "--life", "600"};
}

}  // namespace

void check_churn(const std::string& minivm, int vms,
                 const std::vector<std::string>& others) {
  const std::unique_ptr<Agent> agent = start_agent();
  turn_for(*agent, std::chrono::seconds{1});
  const std::size_t vms_before = agent->vms().size();
  const AgentStatus before = agent->status();
  const long descriptors_before = descriptors();

  // Only now: a guest that was there to be counted before would leave less
  // than nothing behind.
  const pid_t child = start(churning(minivm, vms));
  const pid_t beside = others.empty() ? 0 : start(others);
  std::uint32_t last_seen = 0;
  std::size_t at_once = 0;
  int status = 0;
  while (waitpid(child, &status, WNOHANG) == 0) {
    turn_for(*agent, std::chrono::milliseconds{20});
    at_once = std::max(at_once, agent->vms().size());
    if (agent->vms().empty()) continue;
    last_seen =
        std::max(last_seen, static_cast<std::uint32_t>(agent->vms().back().id));
  }
  int others_status = 0;
  while (beside > 0 && waitpid(beside, &others_status, WNOHANG) == 0) {
    turn_for(*agent, std::chrono::milliseconds{100});
  }
  turn_for(*agent, std::chrono::seconds{2});
  const AgentStatus after = agent->status();
  report("churn.minivm_exit_status", status, "0", status == 0);
  report("churn.others_exit_status", others_status, "0", others_status == 0);
  report("churn.vms_attached", last_seen, fmt::format(">= {}", vms * 99 / 100),
         last_seen >= static_cast<std::uint32_t>(vms * 99 / 100));
  report("churn.vms_at_once", static_cast<double>(at_once), "(reported)", true);
  const auto left = [](std::size_t now, std::size_t then) {
    return static_cast<double>(now) - static_cast<double>(then);
  };
  const double vms_left = left(agent->vms().size(), vms_before);
  const double slots_left = left(after.thread_slots, before.thread_slots);
  const double entries_left = left(after.table_entries, before.table_entries);
  const auto fds_left = static_cast<double>(descriptors() - descriptors_before);
  report("churn.vms_left", vms_left, "0", vms_left == 0);
  report("churn.thread_slots_left", slots_left, "0", slots_left == 0);
  report("churn.map_entries_left", entries_left, "0", entries_left <= 0);
  report("churn.descriptors_left", fds_left, "0", fds_left == 0);
  report("churn.lost", static_cast<double>(after.lost), "0", after.lost == 0);
}

}  // namespace outrider::check
