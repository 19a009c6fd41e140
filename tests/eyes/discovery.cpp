// SPDX-License-Identifier: Apache-2.0
// How long after its vCPU first ran, or its process ended, the agent knows of
// a VM.
#include <fmt/core.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <string>
#include <vector>

#include "agent/sys/clock.h"
#include "agent/sys/fd.h"
#include "tests/eyes/checks.h"
#include "tests/eyes/observer.h"

namespace outrider::check {
namespace {

/// A minivm whose "ready" line can be read.
struct Guest {
  pid_t pid = 0;
  Fd said;
};

Guest start(const std::string& minivm) {
  int ends[2];
  if (pipe(ends) != 0) give_up("pipe");
  Guest guest;
  guest.pid = fork();
  if (guest.pid == 0) {
    dup2(ends[1], STDOUT_FILENO);
    execl(minivm.c_str(), minivm.c_str(), "--mode", "tick:100", "--forever",
          nullptr);
    _exit(127);
  }
  ::close(ends[1]);
  guest.said = Fd{ends[0]};
  return guest;
}

double ms_until(Agent& agent, std::size_t vms) {
  const Instant start = monotonic_now();
  while (agent.vms().size() != vms) {
    turn_for(agent, std::chrono::milliseconds{1});
    if (monotonic_now() - start > std::chrono::seconds{10}) {
      give_up(fmt::format("{} VMs after ten seconds, not {}",
                          agent.vms().size(), vms));
    }
  }
  return static_cast<double>((monotonic_now() - start).count()) / 1e6;
}

void report_times(const std::string& name, std::vector<double> ms) {
  std::sort(ms.begin(), ms.end());
  report(name + "_ms", ms.back(), "<= 100", ms.back() <= 100);
  report(name + "_ms_median", ms[ms.size() / 2], "(reported)", true);
}

}  // namespace

void check_discovery(const std::string& minivm, int times) {
  const std::unique_ptr<Agent> agent = start_agent();
  turn_for(*agent, std::chrono::seconds{1});
  const std::size_t before = agent->vms().size();
  std::vector<double> came;
  std::vector<double> went;
  for (int i = 0; i < times; ++i) {
    const Guest guest = start(minivm);
    char line[64];
    // Said after the first entry, so the count begins late rather than early:
    // what is missing is the time that one write and one read take.
    if (read(guest.said.get(), line, sizeof(line)) <= 0) give_up("no guest");
    came.push_back(ms_until(*agent, before + 1));
    kill(guest.pid, SIGTERM);
    waitpid(guest.pid, nullptr, 0);
    went.push_back(ms_until(*agent, before));
  }
  report_times("discovery.noticed_coming", came);
  report_times("discovery.noticed_going", went);
}

}  // namespace outrider::check
