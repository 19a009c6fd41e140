// SPDX-License-Identifier: Apache-2.0
// What the doctor can only know by trying.
#include <linux/bpf.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "agent/bpf_sensor.h"
#include "agent/doctor.h"
#include "agent/memory_programs.h"
#include "agent/sys/fd.h"

namespace outrider {
namespace {

std::string kernel_release() {
  utsname names{};
  return ::uname(&names) == 0 ? names.release : "";
}

Result<> create_bpf_map(std::uint32_t map_type) {
  const bool is_ring = map_type == BPF_MAP_TYPE_RINGBUF;
  bpf_attr attributes{};
  attributes.map_type = map_type;
  attributes.key_size = is_ring ? 0 : 4;
  attributes.value_size = is_ring ? 0 : 8;
  attributes.max_entries = is_ring ? 4096 : 1;  // a ring: one page, in bytes
  const Fd map{static_cast<int>(
      ::syscall(SYS_bpf, BPF_MAP_CREATE, &attributes, sizeof attributes))};
  if (!map) return fail(errno, "bpf(BPF_MAP_CREATE)");
  return {};
}

// In a child: this process keeps the priority it has.
Result<> try_loop_priority() {
  const pid_t child = ::fork();
  if (child < 0) return fail(errno, "fork");
  if (child == 0) {
    sched_param priority{};
    priority.sched_priority = 1;
    const int done =
        ::sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &priority);
    ::_exit(done == 0 ? 0 : errno);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  return fail(WIFEXITED(status) ? WEXITSTATUS(status) : 0,
              "sched_setscheduler(SCHED_FIFO, 1)");
}

DoctorLine program_line(const char* area, const ProgramVerdict& program,
                        DoctorState state) {
  DoctorLine line{area, program.name, DoctorState::kOk, "loads", "", ""};
  if (program.wanted && !program.loads) {
    line.state = state;
    line.found = program.why.empty() ? "does not load" : program.why;
    line.cost = program.cost;
  }
  return line;
}

std::vector<DoctorLine> program_lines() {
  std::vector<DoctorLine> lines;
  for (const ProgramVerdict& program : probe_programs()) {
    DoctorLine line = program_line("bpf", program, DoctorState::kMissing);
    if (!program.wanted) {
      line.found = "not needed: another program does its work here";
    }
    lines.push_back(std::move(line));
  }
  return lines;
}

// Each of them adds to what the files say: without it there is a loss, no more.
std::vector<DoctorLine> memory_program_lines() {
  std::vector<DoctorLine> lines;
  for (const ProgramVerdict& program : probe_memory_programs()) {
    DoctorLine line = program_line("memory", program, DoctorState::kDegraded);
    if (!program.wanted) line.found = "not before the kvm module is loaded";
    lines.push_back(std::move(line));
  }
  return lines;
}

}  // namespace

HostCalls real_host_calls() {
  return {.kernel_release = kernel_release,
          .create_bpf_map = create_bpf_map,
          .try_loop_priority = try_loop_priority,
          .probe_programs = program_lines,
          .probe_memory_programs = memory_program_lines};
}

}  // namespace outrider
