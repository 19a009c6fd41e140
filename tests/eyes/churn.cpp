// SPDX-License-Identifier: Apache-2.0
// VMs that come and go under the whole agent, not only its sensor.
#include <dirent.h>
#include <fmt/core.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

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

pid_t start(const std::string& minivm, int vms) {
  const pid_t pid = fork();
  if (pid != 0) return pid;
  const std::string total = std::to_string(vms);
  // Each lives long enough to be seen, and attached to, on a busy machine.
  execl(minivm.c_str(), minivm.c_str(), "--churn", total.c_str(), "--parallel",
        "8", "--life", "200", nullptr);
  _exit(127);
}

}  // namespace

void check_churn(const std::string& minivm, int vms, pid_t others) {
  const std::unique_ptr<Agent> agent = start_agent();
  turn_for(*agent, std::chrono::seconds{1});
  const std::size_t vms_before = agent->vms().size();
  const AgentStatus before = agent->status();
  const long descriptors_before = descriptors();

  const pid_t child = start(minivm, vms);
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
  // Until whoever else starts and stops guests is done, and a while more.
  while (others > 0 && kill(others, 0) == 0) {
    turn_for(*agent, std::chrono::milliseconds{100});
  }
  turn_for(*agent, std::chrono::seconds{2});
  const AgentStatus after = agent->status();
  report("churn.minivm_exit_status", status, "0", status == 0);
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
