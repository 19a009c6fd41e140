// SPDX-License-Identifier: Apache-2.0
#include <fmt/core.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "tests/eyes/checks.h"
#include "tests/eyes/observer.h"

namespace {

constexpr const char* kUsage =
    "usage: eyes_check accounting SECONDS PID...\n"
    "       eyes_check busy SECONDS PID\n"
    "       eyes_check together SECONDS CPUS PID\n"
    "       eyes_check capped CPU_MAX_FILE CPUS PID\n"
    "       eyes_check churn MINIVM COUNT [COMMAND...]\n"
    "       eyes_check discovery MINIVM TIMES\n"
    "       eyes_check memory PERIOD_MS COUNT [PID...]\n"
    "       eyes_check programs\n"
    "       eyes_check ticks SECONDS\n"
    "Holds what the eyes see of live processes against what the kernel and "
    "the\n"
    "workload say. Exit 1 when a figure is off, 2 when it cannot be "
    "measured,\n"
    "3 when that is a guest's fault.\n";

std::vector<pid_t> pids_of(const std::vector<std::string>& words,
                           std::size_t first) {
  std::vector<pid_t> pids;
  for (std::size_t i = first; i < words.size(); ++i) {
    pids.push_back(std::atoi(words[i].c_str()));
  }
  return pids;
}

bool dispatch(const std::vector<std::string>& words) {
  using namespace outrider::check;
  const std::string check = words.empty() ? "" : words[0];
  if (check == "accounting" && words.size() >= 3) {
    check_accounting(pids_of(words, 2), std::atof(words[1].c_str()));
  } else if (check == "busy" && words.size() == 3) {
    check_busy(pids_of(words, 2)[0], std::atof(words[1].c_str()));
  } else if (check == "together" && words.size() == 4) {
    check_together(pids_of(words, 3)[0], std::atof(words[1].c_str()),
                   std::atof(words[2].c_str()));
  } else if (check == "capped" && words.size() == 4) {
    check_capped(pids_of(words, 3)[0], words[1], std::atof(words[2].c_str()));
  } else if (check == "churn" && words.size() >= 3) {
    check_churn(words[1], std::atoi(words[2].c_str()),
                {words.begin() + 3, words.end()});
  } else if (check == "discovery" && words.size() == 3) {
    check_discovery(words[1], std::atoi(words[2].c_str()));
  } else if (check == "ticks" && words.size() == 2) {
    check_ticks(std::atoi(words[1].c_str()));
  } else if (check == "memory" && words.size() >= 3) {
    print_memory(std::atoi(words[1].c_str()), std::atoi(words[2].c_str()),
                 pids_of(words, 3));
  } else if (check == "programs" && words.size() == 1) {
    check_programs();
  } else {
    return false;
  }
  return true;
}

}  // namespace

int main(int count, char** arguments) {
  const std::vector<std::string> words(arguments + 1, arguments + count);
  if (!dispatch(words)) {
    fmt::print(stderr, "{}", kUsage);
    return 2;
  }
  return outrider::check::verdict();
}
