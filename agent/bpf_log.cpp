// SPDX-License-Identifier: Apache-2.0
#include "agent/bpf_log.h"

#include <bpf/libbpf.h>

#include <array>
#include <cstdarg>
#include <cstdio>

namespace outrider {
namespace {

std::string& kept() {
  static std::string log;
  return log;
}

int keep(libbpf_print_level level, const char* format, va_list arguments) {
  if (level == LIBBPF_DEBUG) return 0;
  std::array<char, 4096> line{};
  const int length = vsnprintf(line.data(), line.size(), format, arguments);
  if (length > 0) kept() += line.data();
  return length;
}

}  // namespace

void begin_bpf_log() {
  libbpf_set_print(keep);
  kept().clear();
}

const std::string& bpf_log() { return kept(); }

bool bpf_log_blames(const std::string& program) {
  return kept().find("prog '" + program + "': failed to load") !=
         std::string::npos;
}

std::string bpf_log_reason() {
  const std::string& log = kept();
  std::size_t start = 0;
  while (start < log.size()) {
    std::size_t end = log.find('\n', start);
    if (end == std::string::npos) end = log.size();
    const std::string line = log.substr(start, end - start);
    if (line.find("failed") != std::string::npos) {
      return line.substr(line.rfind("libbpf: ", 0) == 0 ? 8 : 0);
    }
    start = end + 1;
  }
  return "refused by the kernel";
}

}  // namespace outrider
