// SPDX-License-Identifier: Apache-2.0
// The smallest virtual machines that KVM will run: a few instructions, up in
// milliseconds, for churn and scale. Each is a process of its own with one
// thread per vCPU, as a hypervisor's VMs are.
//
// The guest starts in 64-bit mode with paging on, so that KVM runs it on the
// processor at once (real mode is emulated in places, and enters nothing).
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

namespace {

constexpr std::string_view kUsage =
    R"(usage: minivm [--count N] [--vcpus K] [--mode MODE]
              [--seconds S | --forever]
       minivm --churn TOTAL [--parallel P] [--life MS] [--vcpus K] [--mode MODE]

Starts N virtual machines, each a process with a thread per vCPU, prints
"ready PID" for each once all its vCPUs have entered the guest, and ends them
at the time-out, at SIGTERM or at SIGINT. With --churn it starts and ends TOTAL
of them instead, P at once, as fast as it can, and prints how fast that was.

  --count N       how many (default 1)
  --vcpus K       vCPUs of each, 1..64 (default 1)
  --mode halt     the guest halts for good: its vCPUs block inside KVM
         spin     it runs a loop and never leaves on its own
         io       it writes to a port for ever: one exit to this program each
         tick:HZ  as io, but this program sleeps to the next multiple of 1/HZ
                  before it enters again: the vCPU thread sleeps in user
                  space, not in KVM's halt (default: halt)
         burst:PERIOD_MS,WORK_US
                  at each multiple of PERIOD_MS it does work that took WORK_US
                  of CPU time when it was measured at the start; all vCPUs wake
                  together; a period that was missed is skipped
  --seconds S     end after so long (default 1)
  --forever       end only when told to
  --churn TOTAL   VMs to start and end; each ends MS after its first entry
  --parallel P    how many at once (default 4)
  --life MS       (default 0)
  --thread-names  call vCPU threads "CPU n/KVM", as QEMU can
  --uuid UUID     means nothing here: for who reads it off the command line

Exit code: 0; 1 when KVM fails; 2 usage.
examples:
  minivm --count 100 --mode tick:100 --seconds 10
  minivm --churn 1000 --parallel 8
)";

enum class Mode { kHalt, kSpin, kIo, kTick, kBurst };

struct Options {
  int count = 1;
  int vcpus = 1;
  Mode mode = Mode::kHalt;
  int tick_hz = 0;
  int burst_period_ms = 0;
  int burst_work_us = 0;
  int seconds = 1;
  bool forever = false;
  int churn = 0;
  int parallel = 4;
  int life_ms = 0;
  bool thread_names = false;
};

// --- One virtual machine, in a process of its own ----------------------------
// Descriptors and mappings live as long as that process, so exit closes them.

[[noreturn]] void give_up(const char* doing) {
  std::fprintf(stderr, "minivm: %s: %s\n", doing, std::strerror(errno));
  _exit(1);
}

template <class Argument>
int kvm_call(int fd, unsigned long request, Argument argument,
             const char* doing) {
  const int result = ioctl(fd, request, argument);
  if (result < 0) give_up(doing);
  return result;
}

// Guest memory: four levels of page tables that map it onto itself, the code.
constexpr std::uint64_t kMemoryBytes = 0x8000;
constexpr std::uint64_t kTables = 0x1000;  // .. 0x4fff
constexpr std::uint64_t kCode = 0x5000;
constexpr std::uint64_t kTurns = 0x6000;  // of a burst's loop
constexpr std::uint64_t kPageBytes = 0x1000;

void write_guest(std::uint8_t* memory, Mode mode) {
  constexpr std::uint64_t kPresentWritableUser = 7;
  const auto table = [memory](std::uint64_t level) {
    return reinterpret_cast<std::uint64_t*>(memory + kTables +
                                            level * kPageBytes);
  };
  for (std::uint64_t level = 0; level < 3; ++level) {
    table(level)[0] =
        (kTables + (level + 1) * kPageBytes) | kPresentWritableUser;
  }
  for (std::uint64_t page = 0; page < kMemoryBytes / kPageBytes; ++page) {
    table(3)[page] = page * kPageBytes | kPresentWritableUser;
  }
  // Each begins with OUT, whose exit tells that the vCPU has entered.
  constexpr std::uint8_t kHaltCode[] = {0xe6, 0x10,   // out %al,$0x10
                                        0xf4,         // hlt
                                        0xeb, 0xfd};  // jmp back to hlt
  constexpr std::uint8_t kSpinCode[] = {0xe6, 0x10, 0xeb, 0xfe};  // jmp itself
  constexpr std::uint8_t kIoCode[] = {0xe6, 0x10, 0xeb, 0xfc};    // jmp to out
  constexpr std::uint8_t kBurstCode[] = {
      0xe6, 0x10,                                      // out %al,$0x10
      0x48, 0x8b, 0x0c, 0x25, 0x00, 0x60, 0x00, 0x00,  // mov kTurns,%rcx
      0x48, 0xff, 0xc9, 0x75, 0xfb,                    // dec %rcx, jnz to dec
      0xeb, 0xef};                                     // jmp to out
  switch (mode) {
    case Mode::kBurst:
      std::memcpy(memory + kCode, kBurstCode, sizeof kBurstCode);
      break;
    case Mode::kHalt:
      std::memcpy(memory + kCode, kHaltCode, sizeof kHaltCode);
      break;
    case Mode::kSpin:
      std::memcpy(memory + kCode, kSpinCode, sizeof kSpinCode);
      break;
    case Mode::kIo:
    case Mode::kTick:
      std::memcpy(memory + kCode, kIoCode, sizeof kIoCode);
      break;
  }
}

// struct kvm_cpuid2 as the kernel sees it: in C++ the header's flexible array
// makes it larger, and with it the request's number, which has the size in it.
struct CpuidTable {
  std::uint32_t count;
  std::uint32_t padding;
  kvm_cpuid_entry2 entries[2];
};
struct CpuidHead {
  std::uint32_t count;
  std::uint32_t padding;
};
constexpr unsigned long kSetCpuid = _IOW(KVMIO, 0x90, CpuidHead);

// A processor in 64-bit mode about to run kCode. Only HLT needs privilege;
// everything else runs at user level with port access (IOPL 3), where even a
// KVM that emulates a guest's privileged code runs it on the processor.
void set_registers(int vcpu, Mode mode) {
  // Some KVMs take long mode only from a processor that says it has it.
  constexpr std::uint32_t kLongMode = 1u << 29;
  CpuidTable cpuid{};
  cpuid.count = 2;
  cpuid.entries[0].function = 0x80000000;
  cpuid.entries[0].eax = 0x80000001;
  cpuid.entries[1].function = 0x80000001;
  cpuid.entries[1].edx = kLongMode;
  kvm_call(vcpu, kSetCpuid, &cpuid, "KVM_SET_CPUID2");

  const std::uint8_t level = mode == Mode::kHalt ? 0 : 3;
  kvm_sregs special{};
  kvm_call(vcpu, KVM_GET_SREGS, &special, "KVM_GET_SREGS");
  kvm_segment code{};
  code.limit = 0xffffffff;
  code.selector = static_cast<std::uint16_t>(1 << 3 | level);
  code.type = 11;  // execute, read, accessed
  code.present = code.s = code.l = code.g = 1;
  code.dpl = level;
  kvm_segment data = code;
  data.selector = static_cast<std::uint16_t>(2 << 3 | level);
  data.type = 3;  // read, write, accessed
  data.l = 0;
  data.db = 1;
  special.cs = code;
  special.ds = special.es = special.fs = special.gs = special.ss = data;
  special.cr3 = kTables;
  special.cr4 = 0x20;        // PAE
  special.cr0 = 0x80000031;  // paging, numeric error, extension, protected
  special.efer = 0x500;      // long mode, enabled and active
  kvm_call(vcpu, KVM_SET_SREGS, &special, "KVM_SET_SREGS");
  kvm_regs general{};
  general.rip = kCode;
  general.rflags = level == 3 ? 0x3002 : 0x2;
  kvm_call(vcpu, KVM_SET_REGS, &general, "KVM_SET_REGS");
}

void sleep_to_multiple_of(std::int64_t period_ns) {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  const std::int64_t now_ns = now.tv_sec * 1'000'000'000 + now.tv_nsec;
  const std::int64_t next_ns = (now_ns / period_ns + 1) * period_ns;
  const timespec next{next_ns / 1'000'000'000, next_ns % 1'000'000'000};
  clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, nullptr);
}

struct Machine {
  int vm = -1;
  int run_bytes = 0;  // of the area that KVM shares with us for each vCPU
  std::atomic<int> entered{0};
  std::uint8_t* memory = nullptr;
  std::atomic<bool> measured{false};  // a burst's turns are in guest memory
};

void set_turns(Machine& machine, std::uint64_t turns) {
  std::memcpy(machine.memory + kTurns, &turns, sizeof turns);
}

// Enters the guest until it asks for something, which must be its OUT.
void run_to_out(int vcpu, const kvm_run& run) {
  while (ioctl(vcpu, KVM_RUN, 0) < 0) {
    if (errno != EINTR && errno != EAGAIN) give_up("KVM_RUN");
  }
  if (run.exit_reason == KVM_EXIT_IO) return;
  std::fprintf(stderr, "minivm: vCPU left with KVM exit reason %u\n",
               run.exit_reason);
  _exit(1);
}

// How many turns take `work_us`: by the quickest of some trials, since what
// else the host does only makes them longer.
void measure_turns(Machine& machine, int vcpu, const kvm_run& run,
                   int work_us) {
  constexpr std::uint64_t kTrialTurns = 200'000;
  std::int64_t least_ns = 0;
  set_turns(machine, kTrialTurns);
  for (int trial = 0; trial < 7; ++trial) {
    timespec begin{};
    timespec end{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begin);
    run_to_out(vcpu, run);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
    const std::int64_t ns = (end.tv_sec - begin.tv_sec) * 1'000'000'000 +
                            end.tv_nsec - begin.tv_nsec;
    if (trial == 0 || ns < least_ns) least_ns = ns;
  }
  set_turns(machine, kTrialTurns * static_cast<std::uint64_t>(work_us) * 1000 /
                         static_cast<std::uint64_t>(least_ns));
  machine.measured = true;
  machine.measured.notify_all();
}

void run_vcpu(Machine& machine, int index, const Options& options) {
  if (options.thread_names) {
    const std::string name = "CPU " + std::to_string(index) + "/KVM";
    prctl(PR_SET_NAME, name.c_str());
  }
  const int vcpu =
      kvm_call(machine.vm, KVM_CREATE_VCPU, index, "KVM_CREATE_VCPU");
  void* mapping = mmap(nullptr, static_cast<std::size_t>(machine.run_bytes),
                       PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
  if (mapping == MAP_FAILED) give_up("mmap vCPU");
  const auto* run = static_cast<kvm_run*>(mapping);
  set_registers(vcpu, options.mode);
  if (options.mode == Mode::kHalt && index > 0) {
    kvm_mp_state runnable{KVM_MP_STATE_RUNNABLE};  // not waiting for a SIPI
    kvm_call(vcpu, KVM_SET_MP_STATE, &runnable, "KVM_SET_MP_STATE");
  }
  run_to_out(vcpu, *run);
  machine.entered.fetch_add(1);
  machine.entered.notify_one();
  if (options.mode == Mode::kBurst) {
    if (index == 0) measure_turns(machine, vcpu, *run, options.burst_work_us);
    machine.measured.wait(false);
  }
  for (;;) {
    if (options.mode == Mode::kTick) {
      sleep_to_multiple_of(1'000'000'000 / options.tick_hz);
    } else if (options.mode == Mode::kBurst) {
      sleep_to_multiple_of(std::int64_t{1'000'000} * options.burst_period_ms);
    }
    run_to_out(vcpu, *run);
  }
}

[[noreturn]] void run_machine(const Options& options) {
  const int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
  if (kvm < 0) give_up("open /dev/kvm");
  static Machine machine;
  machine.vm = kvm_call(kvm, KVM_CREATE_VM, 0, "KVM_CREATE_VM");
  machine.run_bytes =
      kvm_call(kvm, KVM_GET_VCPU_MMAP_SIZE, 0, "KVM_GET_VCPU_MMAP_SIZE");
  if (options.mode == Mode::kHalt) {
    // Without it HLT would leave to user space instead of blocking in KVM.
    kvm_call(machine.vm, KVM_CREATE_IRQCHIP, 0, "KVM_CREATE_IRQCHIP");
  }
  void* memory = mmap(nullptr, kMemoryBytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) give_up("mmap guest memory");
  machine.memory = static_cast<std::uint8_t*>(memory);
  write_guest(machine.memory, options.mode);
  kvm_userspace_memory_region region{};
  region.memory_size = kMemoryBytes;
  region.userspace_addr = reinterpret_cast<std::uintptr_t>(memory);
  kvm_call(machine.vm, KVM_SET_USER_MEMORY_REGION, &region,
           "KVM_SET_USER_MEMORY_REGION");

  for (int index = 0; index < options.vcpus; ++index) {
    std::thread([index, &options] {
      run_vcpu(machine, index, options);
    }).detach();
  }
  for (int entered; (entered = machine.entered.load()) < options.vcpus;) {
    machine.entered.wait(entered);
  }
  if (options.churn > 0) {
    usleep(static_cast<useconds_t>(options.life_ms) * 1000);
    _exit(0);
  }
  // One write, so that lines of many processes do not mix.
  const std::string line = "ready " + std::to_string(getpid()) + "\n";
  if (write(STDOUT_FILENO, line.data(), line.size()) < 0) _exit(1);
  for (;;) pause();
}

// --- The parent --------------------------------------------------------------

volatile sig_atomic_t told_to_end = 0;

pid_t start_machine(const Options& options, const sigset_t& signals_before) {
  const pid_t parent = getpid();
  const pid_t child = fork();  // before any KVM descriptor is open
  if (child < 0) give_up("fork");
  if (child > 0) return child;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);
  signal(SIGTERM, SIG_DFL);
  signal(SIGINT, SIG_DFL);
  sigprocmask(SIG_SETMASK, &signals_before, nullptr);
  run_machine(options);
}

bool ended_well(int status) {
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

void end_all(const std::vector<pid_t>& machines) {
  for (const pid_t pid : machines) kill(pid, SIGKILL);
  for (const pid_t pid : machines) waitpid(pid, nullptr, 0);
}

int run_count(const Options& options, const sigset_t& signals_before,
              const sigset_t& awaited) {
  std::vector<pid_t> machines;
  machines.reserve(static_cast<std::size_t>(options.count));
  for (int i = 0; i < options.count; ++i) {
    machines.push_back(start_machine(options, signals_before));
  }
  timespec end{};
  clock_gettime(CLOCK_MONOTONIC, &end);
  end.tv_sec += options.seconds;
  for (;;) {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    std::int64_t left_ns =
        (end.tv_sec - now.tv_sec) * 1'000'000'000 + end.tv_nsec - now.tv_nsec;
    if (options.forever) left_ns = 3'600'000'000'000;
    if (left_ns <= 0) break;
    const timespec left{left_ns / 1'000'000'000, left_ns % 1'000'000'000};
    const int got = sigtimedwait(&awaited, nullptr, &left);
    if (got == SIGTERM || got == SIGINT) break;
    if (got != SIGCHLD) continue;
    // No machine ends by itself: this one has failed and said why.
    end_all(machines);
    return 1;
  }
  end_all(machines);
  return 0;
}

int run_churn(const Options& options, const sigset_t& signals_before) {
  timespec start{};
  clock_gettime(CLOCK_MONOTONIC, &start);
  int started = 0;
  int done = 0;
  bool failed = false;
  while (done < started || (started < options.churn && !failed)) {
    while (started < options.churn && started - done < options.parallel &&
           !failed && !told_to_end) {
      start_machine(options, signals_before);
      ++started;
    }
    if (done == started) break;
    int status = 0;
    if (waitpid(-1, &status, 0) < 0) {
      if (errno == EINTR) continue;
      give_up("waitpid");
    }
    ++done;
    failed = failed || !ended_well(status);
  }
  timespec end{};
  clock_gettime(CLOCK_MONOTONIC, &end);
  const double seconds =
      static_cast<double>(end.tv_sec - start.tv_sec) +
      static_cast<double>(end.tv_nsec - start.tv_nsec) * 1e-9;
  std::printf("churned %d in %.2f s, %.1f a second\n", done, seconds,
              done / seconds);
  return failed ? 1 : 0;
}

// --- Command line ------------------------------------------------------------

[[noreturn]] void misuse(std::string_view what) {
  std::fprintf(stderr, "minivm: %.*s (see minivm --help)\n",
               static_cast<int>(what.size()), what.data());
  std::exit(2);
}

int whole(std::string_view option, std::string_view text, int least, int most) {
  int value = 0;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() ||
      value < least || value > most) {
    misuse(std::string(option) + ": want " + std::to_string(least) + ".." +
           std::to_string(most) + ", got '" + std::string(text) + "'");
  }
  return value;
}

void parse_mode(std::string_view text, Options& options) {
  if (text == "halt") {
    options.mode = Mode::kHalt;
  } else if (text == "spin") {
    options.mode = Mode::kSpin;
  } else if (text == "io") {
    options.mode = Mode::kIo;
  } else if (text.substr(0, 5) == "tick:") {
    options.mode = Mode::kTick;
    options.tick_hz = whole("--mode tick", text.substr(5), 1, 100'000);
  } else if (text.substr(0, 6) == "burst:") {
    const std::size_t comma = std::min(text.find(','), text.size());
    options.mode = Mode::kBurst;
    options.burst_period_ms =
        whole("--mode burst", text.substr(6, comma - 6), 1, 10'000);
    options.burst_work_us =
        whole("--mode burst", text.substr(std::min(comma + 1, text.size())), 1,
              options.burst_period_ms * 1000);
  } else {
    misuse("--mode: want halt, spin, io, tick:HZ or burst:PERIOD_MS,WORK_US");
  }
}

Options parse(int argc, char** argv) {
  constexpr int kMost = 1'000'000;
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view option = argv[i];
    if (option == "--help" || option == "-h") {
      std::fputs(kUsage.data(), stdout);
      std::exit(0);
    }
    if (option == "--forever") {
      options.forever = true;
      continue;
    }
    if (option == "--thread-names") {
      options.thread_names = true;
      continue;
    }
    if (i + 1 == argc)
      misuse("unknown option, or no value: " + std::string(option));
    const std::string_view value = argv[++i];
    if (option == "--count") {
      options.count = whole(option, value, 1, kMost);
    } else if (option == "--vcpus") {
      options.vcpus = whole(option, value, 1, 64);
    } else if (option == "--mode") {
      parse_mode(value, options);
    } else if (option == "--seconds") {
      options.seconds = whole(option, value, 1, kMost);
    } else if (option == "--churn") {
      options.churn = whole(option, value, 1, kMost);
    } else if (option == "--parallel") {
      options.parallel = whole(option, value, 1, kMost);
    } else if (option == "--life") {
      options.life_ms = whole(option, value, 0, kMost);
    } else if (option != "--uuid") {
      misuse("unknown option " + std::string(option));
    }
  }
  return options;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options = parse(argc, argv);
  sigset_t before;
  if (options.churn > 0) {
    struct sigaction action {};
    action.sa_handler = [](int) { told_to_end = 1; };
    sigaction(SIGTERM, &action, nullptr);
    sigaction(SIGINT, &action, nullptr);
    sigprocmask(SIG_BLOCK, nullptr, &before);
    return run_churn(options, before);
  }
  sigset_t awaited;
  sigemptyset(&awaited);
  for (const int one : {SIGTERM, SIGINT, SIGCHLD}) sigaddset(&awaited, one);
  sigprocmask(SIG_BLOCK, &awaited, &before);
  return run_count(options, before, awaited);
}
