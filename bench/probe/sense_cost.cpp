// SPDX-License-Identifier: Apache-2.0
#include "bench/probe/sense_cost.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "agent/slots.h"
#include "agent/sys/clock.h"
#include "bench/probe/ping_pong.h"

namespace outrider::bench {
namespace {

constexpr int kVms = 1000;
// One vCPU and QEMU's main thread: the smallest VM there is.
constexpr int kThreadsPerVm = 2;

// The shared memory as the skeleton would map it.
struct Memory {
  eyes_thread threads[EYES_THREADS_MAX];
  eyes_vcpu vcpus[EYES_THREADS_MAX];
  eyes_vm vms[EYES_VMS_MAX];
  __u16 slot_of_pid[EYES_PIDS_MAX];
  __u16 free_slots[EYES_THREADS_MAX];
  __u32 free_head;
  __u32 free_tail;
  __u32 serial_last;
  __u32 generation;
  eyes_clock clock_pair;
  eyes_lost lost;
};

Memory* map_memory() {
  void* memory = mmap(nullptr, sizeof(Memory), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) abort();
  return static_cast<Memory*>(memory);
}

Eyes eyes_of(Memory& memory) {
  return Eyes{.threads = memory.threads,
              .vcpus = memory.vcpus,
              .vms = memory.vms,
              .free_slots = memory.free_slots,
              .free_head = &memory.free_head,
              .free_tail = &memory.free_tail,
              .serial_last = &memory.serial_last,
              .generation = &memory.generation,
              .clock_pair = &memory.clock_pair,
              .lost = &memory.lost,
              .index = [&memory](pid_t tid) -> __u16& {
                return memory.slot_of_pid[tid];
              },
              .reach = [](std::uint32_t) { return true; }};
}

void fill(Slots& slots, Memory& memory) {
  pid_t tid = 1000;
  for (int vm = 1; vm <= kVms; ++vm) {
    const VmId id{static_cast<std::uint32_t>(vm)};
    if (!slots.open(id, tid)) abort();
    for (int i = 0; i < kThreadsPerVm; ++i, ++tid) {
      if (!slots.adopt(id, tid, ThreadClass::kEmulator)) abort();
      if (i == 0) slots.pretend_vcpu(tid);
    }
  }
  (void)slots.read(monotonic_now());
  memory.clock_pair = {.seq = 2,
                       .pad = 0,
                       .monotonic_ns = static_cast<__u64>(
                           monotonic_now().time_since_epoch().count()),
                       .rq_ns = 1'000'000'000,
                       .rq_minus_monotonic = 0};
}

// How busy the host is: which threads have a busy period open when it is read,
// and how many slept, but had run since the last read.
struct Mix {
  const char* name;
  int open;
  int slept;
  double limit_ns;
  const char* what;
};

constexpr int kThreads = kVms * kThreadsPerVm;

// A host of 64 CPUs: all of them run a VM's thread, as many threads wait, and
// 40 others came and went on each in the 20 ms since the last read.
constexpr Mix kUsual{"sense_vm", 128, 64 * 40 % kThreads, 10,
                     "1,000 VMs of 2 threads: 64 run, 64 wait, 560 ran"};
// The dearest that there is.
constexpr Mix kWorst{"sense_vm_all_open", kThreads, 0, 0,
                     "1,000 VMs of 2 threads, every busy period open"};

// The slots in use are neighbours: they were given out in one go.
std::uint32_t first_slot(const Memory& memory) {
  static std::uint32_t first = 0;
  while (memory.threads[first].vm == 0) ++first;
  return first;
}

void play(Memory& memory, const Mix& mix, std::uint32_t turn) {
  // A stride that is coprime to the number of threads touches each once.
  constexpr std::uint32_t kStride = 797;
  std::uint32_t at = turn * 13;
  for (int i = 0; i < mix.open + mix.slept; ++i) {
    at = (at + kStride) % kThreads;
    eyes_thread& thread = memory.threads[first_slot(memory) + at];
    thread.seq += 2;
    thread.run_ns += 1000;
    thread.state = i >= mix.open ? EYES_SLEEPING
                   : i % 2 == 0  ? EYES_RUNNING
                                 : EYES_WAITING;
  }
}

void put_to_sleep(Memory& memory) {
  for (eyes_thread& thread : memory.threads) {
    if (thread.vm == 0 || thread.state == EYES_SLEEPING) continue;
    thread.seq += 2;
    thread.state = EYES_SLEEPING;
  }
}

// ns a VM, by the time of the reads alone.
double sense_ns(Slots& slots, Memory& memory, const Mix& mix) {
  constexpr std::uint32_t kReads = 50;
  Duration spent{};
  for (std::uint32_t i = 0; i < kReads; ++i) {
    put_to_sleep(memory);
    (void)slots.read(monotonic_now());
    play(memory, mix, i);
    const Instant start = monotonic_now();
    (void)slots.read(start);
    spent += monotonic_now() - start;
  }
  return static_cast<double>(spent.count()) / (kReads * kVms);
}

/// Directories of our own in each tree that this host has, removed at the end.
class Groups {
 public:
  Groups() {
    for (const Place& place : kPlaces) {
      // A tmpfs that only holds the mounts of v1 has none of its files.
      const std::string root = place.root;
      if (access((root + "/cgroup.procs").c_str(), W_OK) != 0) continue;
      const std::string parent = root + "/outrider-bench-" +
                                 std::to_string(getpid()) + "-" + place.file;
      if (mkdir(parent.c_str(), 0755) != 0) continue;
      made_.push_back(parent);
      for (int i = 0; i < kVms; ++i) {
        const std::string group = parent + "/" + std::to_string(i);
        if (mkdir(group.c_str(), 0755) != 0) continue;
        made_.push_back(group);
        files_.push_back(group + "/" + place.file);
      }
    }
  }
  ~Groups() {
    for (auto it = made_.rbegin(); it != made_.rend(); ++it) {
      (void)rmdir(it->c_str());  // a bench's leftovers: nothing more to do
    }
  }
  Groups(const Groups&) = delete;
  Groups& operator=(const Groups&) = delete;

  // ns for the files of one VM, opened, read and closed as agents do.
  double read_ns() const {
    const Instant start = monotonic_now();
    std::array<char, 4096> text{};
    for (const std::string& file : files_) {
      const Fd fd{open(file.c_str(), O_RDONLY | O_CLOEXEC)};
      if (!fd || read(fd.get(), text.data(), text.size()) < 0) {
        perror(file.c_str());
        exit(1);
      }
    }
    const Duration spent = monotonic_now() - start;
    return static_cast<double>(spent.count()) / kVms;
  }
  std::size_t files_per_vm() const { return files_.size() / kVms; }

 private:
  struct Place {
    const char* root;
    const char* file;
  };
  // cpu.stat, the memory in use and the I/O done, wherever this host has them.
  static constexpr std::array kPlaces = {
      Place{"/sys/fs/cgroup/unified", "cpu.stat"},
      Place{"/sys/fs/cgroup/memory", "memory.usage_in_bytes"},
      Place{"/sys/fs/cgroup/blkio", "blkio.throttle.io_service_bytes"},
  };
  std::vector<std::string> made_;
  std::vector<std::string> files_;
};

}  // namespace

std::vector<Figure> measure_sense(int rounds) {
  fprintf(stderr, "probe: sensing %d VMs ...\n", kVms);
  pin_to(static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN)) - 1);
  Memory* memory = map_memory();
  Slots slots(eyes_of(*memory));
  fill(slots, *memory);
  const Groups groups;
  std::vector<double> usual;
  std::vector<double> worst;
  std::vector<double> ratios;
  (void)sense_ns(slots, *memory, kUsual);
  for (int i = 0; i < rounds; ++i) {
    const double a1 = groups.read_ns();
    const double b1 = sense_ns(slots, *memory, kUsual);
    const double b2 = sense_ns(slots, *memory, kUsual);
    const double a2 = groups.read_ns();
    usual.push_back((b1 + b2) / 2);
    ratios.push_back((a1 + a2) / (b1 + b2));
    worst.push_back(sense_ns(slots, *memory, kWorst));
  }
  if (slots.read(monotonic_now()).threads.size() != kThreads) abort();
  munmap(memory, sizeof(Memory));
  Figure cost = figure_of(kUsual.name, "ns", usual, kUsual.limit_ns);
  cost.yardstick = kUsual.what;
  Figure dearest = figure_of(kWorst.name, "ns", worst, kWorst.limit_ns);
  dearest.yardstick = kWorst.what;
  Figure ratio = figure_of("sense_vm_against_files", "x", ratios, 500);
  ratio.at_least = true;
  ratio.yardstick = "open, read, close of " +
                    std::to_string(groups.files_per_vm()) +
                    " cgroup files a VM";
  return {cost, dearest, ratio};
}

}  // namespace outrider::bench
