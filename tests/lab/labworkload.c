// SPDX-License-Identifier: Apache-2.0
// The whole user space of a lab guest: its init, which loads the processors in
// a way that a seed repeats exactly, and marks what it does.
//
// Settings come as environment variables from the kernel's command line:
//   LAB_WORKLOAD  KIND[:ARGUMENT,...][,FLAG...][@WORKERS], see parse_workload
//   LAB_SEED      whole number, default 1
//   LAB_MARKS     0 = no mark for single bursts
//   LAB_CAL       loop turns per millisecond; measured when absent
//   LAB_HOLD      1 = waits for the host's word before it begins, see below
//
// Marks go to the PCI serial port at 00:10.0, byte by byte. One byte with the
// top bit set is the begin (0x80) or end (0xc0) of a burst on vCPU byte & 0x3f:
// one exit, so that marking costs and delays as little as possible. Anything
// else is a line of text: CAL <turns per ms>, READY, DONE <worker>, ERROR
// <why>, with LAB_HOLD also HELD and LEAD <seconds>, and what labmemory.h says.
//
// With LAB_HOLD one byte to that port says "go" (0..126) or "hold" (127). The
// workload then repeats exactly each time: its time 0 lies so many seconds
// after "go", and what is random or replayed counts from time 0. The seconds
// before are a lead: the same kind of load, drawn from another stream, so that
// who learned from it has not seen what comes.
//
// Work is counted in turns of a loop, measured once while nothing limits the
// guest: a burst is then the same amount of true work whatever the host does
// with it. CPU time would not do, as a guest counts stolen time as its own.
#define _GNU_SOURCE
#include "labworkload.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "labmemory.h"

enum { kWorkersMax = 64, kArgumentsMax = 6 };
enum { kNoCommand = -1, kHold = 127 };

enum Kind {
  kIdle,
  kTicker,
  kHog,
  kBurst,
  kRamp,
  kReplay,
  kTouch,
  kSurge,
  kPressure,
  kFreed
};

struct Workload {
  enum Kind kind;
  double argument[kArgumentsMax];
  int arguments;
  bool sync;     // all workers wake at the same instants
  bool backlog;  // late bursts are made up for, not skipped
  bool loop;     // replay and touch start again at their end
  int workers;   // 0 = one per vCPU
};

struct Worker {
  int cpu;
  uint64_t random;       // state of next_random
  uint64_t lead_random;  // the same for the time before 0
  pthread_t thread;
};

static struct Workload workload;
static int port_fd;  // the registers of the port that takes marks
static bool marking = true;
static uint64_t seed = 1;
static uint64_t turns_per_ms;
static int workers;
static int64_t epoch_ns;     // the workload's time 0
static int64_t lead_ns;      // by which work begins earlier
static uint32_t *replay_us;  // CPU microseconds of the whole guest per tick
static size_t replay_ticks;

// A write to the first register of QEMU's PCI serial port, by way of sysfs.
// The plainer OUT to isa-debugcon does not work here: QEMU 7.2's emulated SVM
// faults a guest's OUT at user level whatever ioperm() allowed (it wants the
// task register's type to be "available", and KVM rightly loads "busy"), and
// the cloud kernel has no /dev/port.
static void put_mark(int value) {
  const unsigned char byte = (unsigned char)value;
  (void)!pwrite(port_fd, &byte, 1, 0);
}

// What the host has said, if anything: the port's line status and data.
static int take_command(void) {
  enum { kData = 0, kLineStatus = 5, kDataReady = 1 };
  unsigned char byte;
  if (pread(port_fd, &byte, 1, kLineStatus) != 1) return kNoCommand;
  if (!(byte & kDataReady)) return kNoCommand;
  return pread(port_fd, &byte, 1, kData) == 1 ? byte & 0x7f : kNoCommand;
}

// Who marks a line; shared with the processes of labmemory.c, one of which may
// be killed with it in hand.
static pthread_mutex_t *one_line;
static void share_lines(void) {
  one_line = mmap(NULL, sizeof *one_line, PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  pthread_mutex_init(one_line, &attributes);
}

void mark_line(const char *format, ...) {
  char line[160];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  if (pthread_mutex_lock(one_line) == EOWNERDEAD) {
    pthread_mutex_consistent(one_line);
    put_mark('\n');  // ends the line that was begun
  }
  for (const char *c = line; *c; ++c) put_mark(*c & 0x7f);
  put_mark('\n');
  pthread_mutex_unlock(one_line);
}

void mark_burst(int kind, int cpu) {
  if (marking) put_mark(kind | (cpu & 0x3f));
}

static _Noreturn void rest(void) {
  for (;;) pause();
}

_Noreturn void give_up(const char *why, const char *what) {
  mark_line("ERROR %s: %s", why, what);
  rest();
}

int64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * kNsPerSec + t.tv_nsec;
}

void sleep_until(int64_t when_ns) {
  const struct timespec t = {when_ns / kNsPerSec, when_ns % kNsPerSec};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL)) continue;
}

// The generator SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): any state will
// do as a seed, and states next to each other give unrelated sequences.
static uint64_t next_random(uint64_t *state) {
  uint64_t z = *state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

// uniform in [0, 1)
double next_fraction(uint64_t *state) {
  return (double)(next_random(state) >> 11) * 0x1p-53;
}

static void work_turns(uint64_t turns) {
  uint64_t x = turns;
  for (uint64_t i = 0; i < turns; ++i) {
    x = x * 6364136223846793005u + 1442695040888963407u;
    __asm__ volatile("" : "+r"(x));
  }
}

static void work_ns(int64_t ns) {
  if (ns > 0) work_turns((uint64_t)((double)ns * 1e-6 * (double)turns_per_ms));
}

// Turns per millisecond: the fastest of many short runs, since every
// disturbance only ever makes a run slower.
static uint64_t calibrate(void) {
  uint64_t turns = 1000;
  for (;;) {  // how many turns last about 2 ms
    const int64_t start = now_ns();
    work_turns(turns);
    if (now_ns() - start > 2 * kNsPerMs) break;
    turns *= 2;
  }
  int64_t best = INT64_MAX;
  for (int run = 0; run < 40; ++run) {
    const int64_t start = now_ns();
    work_turns(turns);
    const int64_t took = now_ns() - start;
    if (took > 0 && took < best) best = took;
  }
  return (uint64_t)((double)turns * (double)kNsPerMs / (double)best);
}

// --- What there is to do -----------------------------------------------------

// ticker:HZ[,JITTER[,WORK_US]]  sleeps to absolute times, works a moment
static void run_ticker(struct Worker *worker) {
  const int64_t period = (int64_t)(1e9 / workload.argument[0]);
  const double jitter = workload.argument[1];
  const int64_t work =
      workload.arguments > 2 ? (int64_t)(workload.argument[2] * 1e3) : 5000;
  const int64_t phase =
      workload.sync
          ? 0
          : (int64_t)(next_fraction(&worker->random) * (double)period);
  for (int64_t tick = 0;;) {
    const double late = jitter * next_fraction(&worker->random);
    sleep_until(epoch_ns + phase + tick * period +
                (int64_t)(late * (double)period));
    work_ns(work);
    const int64_t next = (now_ns() - epoch_ns - phase) / period + 1;
    tick = next > tick ? next : tick + 1;
  }
}

static double next_shift(struct Worker *worker, int64_t index) {
  return next_fraction(index < 0 ? &worker->lead_random : &worker->random);
}

// burst:PERIOD_MS,DUTY[,JITTER]  DUTY x PERIOD of work in each period. JITTER
// shifts a burst within the part of its period that it leaves free.
static void run_bursts(struct Worker *worker) {
  const int64_t period = (int64_t)(workload.argument[0] * 1e6);
  const int64_t work = (int64_t)(workload.argument[1] * (double)period);
  const double room = workload.argument[2] * (double)(period - work);
  const int64_t phase =
      workload.sync
          ? 0
          : (int64_t)(next_fraction(&worker->random) * (double)period);
  for (int64_t index = -(lead_ns / period);;) {
    const double shift = room * next_shift(worker, index);
    sleep_until(epoch_ns + phase + index * period + (int64_t)shift);
    mark_burst(kMarkBegin, worker->cpu);
    work_ns(work);
    mark_burst(kMarkEnd, worker->cpu);
    ++index;
    if (workload.backlog) continue;
    const int64_t elapsed = now_ns() - epoch_ns - phase;
    while (index * period < elapsed) {
      next_shift(worker, index);  // a skipped burst uses up its jitter
      ++index;
    }
  }
}

// Work in ticks of 10 ms, as much as `demand_ns` says for each, until that is
// negative. What does not fit is dropped, or kept with the flag backlog.

static void run_ticks(int64_t (*demand_ns)(int64_t tick)) {
  for (int64_t tick = -(lead_ns / kTickNs);;) {
    sleep_until(epoch_ns + tick * kTickNs);
    const int64_t work = demand_ns(tick);
    if (work < 0) return;
    work_ns(work);
    ++tick;
    const int64_t current = (now_ns() - epoch_ns) / kTickNs;
    if (!workload.backlog && current > tick) tick = current;
  }
}

// ramp:SECONDS,FROM,TO  demand of each worker, 0..1 of a CPU; stays at TO
static int64_t ramp_demand(int64_t tick) {
  double part = (double)(tick * kTickNs) / (workload.argument[0] * 1e9);
  if (part < 0) part = 0;
  if (part > 1) part = 1;
  const double from = workload.argument[1];
  const double to = workload.argument[2];
  return (int64_t)((from + part * (to - from)) * (double)kTickNs);
}

// replay  what /replay says, shared evenly among the workers
static int64_t replay_demand(int64_t tick) {
  const int64_t ticks = (int64_t)replay_ticks;
  if (tick >= ticks && !workload.loop) return -1;
  // A lead replays the end of it.
  return (int64_t)replay_us[(tick % ticks + ticks) % ticks] * 1000 / workers;
}

// surge:FROM_MIB,TO_MIB,MIB_PER_SEC,HOLD_SEC,PERIOD_SEC[,JITTER]
// pressure:MIB
// freed:FREED_MIB,MIB[,JOB_MIB,PERIOD_SEC,OFFSET_SEC]
static _Noreturn void run_memory(const struct Worker *worker) {
  const double *a = workload.argument;
  struct MemoryLoad load = {.epoch_ns = epoch_ns,
                            .lead_ns = lead_ns,
                            .random = worker->random,
                            .lead_random = worker->lead_random,
                            .from_mib = a[0]};
  if (workload.kind == kSurge) {
    load.to_mib = a[1];
    load.mib_per_sec = a[2];
    load.hold_sec = a[3];
    load.period_sec = a[4];
    load.jitter = a[5];
    run_surges(&load);
  }
  if (workload.kind == kFreed) {
    load.from_mib = a[1];
    load.job_mib = a[2];
    load.period_sec = a[3];
    load.offset_sec = a[4];
  }
  run_steady(&load);
}

static void *work(void *argument) {
  struct Worker *worker = argument;
  prctl(PR_SET_TIMERSLACK, 1);
  // At once: nobody marks a line just now, and the process it starts waits.
  if (workload.kind >= kSurge) run_memory(worker);
  sleep_until(epoch_ns - lead_ns);
  switch (workload.kind) {
    case kIdle:
      break;
    case kTicker:
      run_ticker(worker);
      break;
    case kHog:
      for (;;) work_turns(1u << 30);
    case kBurst:
      run_bursts(worker);
      break;
    case kRamp:
      run_ticks(ramp_demand);
      break;
    case kReplay:
      run_ticks(replay_demand);
      break;
    case kTouch:
      touch_memory(&(struct TouchLoad){.epoch_ns = epoch_ns,
                                       .mib_per_sec = workload.argument[0],
                                       .mib = workload.argument[1],
                                       .loops = workload.loop});
      break;
    case kSurge:
    case kPressure:
    case kFreed:
      break;
  }
  if (workload.kind != kIdle) mark_line("DONE %d", worker->cpu);
  rest();
}

// --- Getting there -----------------------------------------------------------

static void need(bool holds, const char *what) {
  if (!holds) give_up("workload", what);
}

static bool is_fraction(double x) { return x >= 0 && x <= 1; }

static void check_arguments(void) {
  const double *a = workload.argument;
  switch (workload.kind) {
    case kIdle:
    case kHog:
    case kReplay:
      need(workload.arguments == 0, "takes no number");
      break;
    case kTicker:
      need(workload.arguments >= 1 && a[0] > 0 && a[0] <= 100000,
           "ticker:HZ[,JITTER[,WORK_US]]: HZ 0..100000");
      need(is_fraction(a[1]), "ticker: JITTER 0..1");
      break;
    case kBurst:
      need(workload.arguments >= 2 && a[0] > 0,
           "burst:PERIOD_MS,DUTY[,JITTER]: PERIOD_MS > 0");
      need(is_fraction(a[1]) && is_fraction(a[2]), "burst: DUTY, JITTER 0..1");
      break;
    case kRamp:
      need(workload.arguments == 3 && a[0] > 0, "ramp:SECONDS,FROM,TO");
      need(is_fraction(a[1]) && is_fraction(a[2]), "ramp: FROM and TO 0..1");
      break;
    case kTouch:
      need(workload.arguments == 2 && a[0] > 0 && a[1] >= 1,
           "touch:MIB_PER_S,TOTAL_MIB");
      break;
    case kSurge:
      need(workload.arguments >= 5 && a[0] >= 0 && a[1] > a[0] && a[2] > 0 &&
               is_fraction(a[5]),
           "surge:FROM_MIB,TO_MIB,MIB_PER_SEC,HOLD_SEC,PERIOD_SEC[,JITTER]");
      need(a[3] >= 0 && a[4] > (a[1] - a[0]) / a[2] + a[3],
           "surge: PERIOD_SEC is too short for it");
      break;
    case kPressure:
      need(workload.arguments == 1 && a[0] >= 1, "pressure:MIB");
      break;
    case kFreed:
      need(workload.arguments >= 2 && a[0] >= 1 && a[1] >= 1 &&
               (a[2] == 0 || a[3] > 0),
           "freed:FREED_MIB,MIB[,JOB_MIB,PERIOD_SEC,OFFSET_SEC]");
      break;
  }
}

static void parse_word(char *word) {
  if (!strcmp(word, "sync")) {
    workload.sync = true;
  } else if (!strcmp(word, "backlog")) {
    workload.backlog = true;
  } else if (!strcmp(word, "loop")) {
    workload.loop = true;
  } else {
    char *end;
    const double number = strtod(word, &end);
    need(*word && !*end, "a word is neither a number nor sync|backlog|loop");
    need(workload.arguments < kArgumentsMax, "too many numbers");
    workload.argument[workload.arguments++] = number;
  }
}

static void parse_workload(char *text) {
  static const char *const kinds[] = {"idle",     "ticker", "hog",   "burst",
                                      "ramp",     "replay", "touch", "surge",
                                      "pressure", "freed"};
  char *at = strchr(text, '@');
  if (at) {
    *at = 0;
    workload.workers = atoi(at + 1);
    need(workload.workers > 0, "@WORKERS: want 1 or more");
  }
  char *rest_of_words;
  const char *name = strtok_r(text, ":,", &rest_of_words);
  need(name != NULL, "empty");
  bool known = false;
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; ++i) {
    if (strcmp(name, kinds[i])) continue;
    workload.kind = (enum Kind)i;
    known = true;
  }
  need(known, "no such workload; see labguest --help");
  char *word;
  while ((word = strtok_r(NULL, ":,", &rest_of_words))) parse_word(word);
  check_arguments();
}

// One whole number of microseconds a line.
static void read_replay(void) {
  FILE *file = fopen("/replay", "re");
  if (!file) give_up("replay", "no /replay in the initramfs");
  size_t room = 0;
  unsigned value;
  while (fscanf(file, "%u", &value) == 1) {
    if (replay_ticks == room) {
      room = room ? 2 * room : 4096;
      replay_us = realloc(replay_us, room * sizeof *replay_us);
      if (!replay_us) give_up("replay", "out of memory");
    }
    replay_us[replay_ticks++] = value;
  }
  fclose(file);
  if (!replay_ticks) give_up("replay", "no figures");
}

// Loads the kernel modules that /modules/order names, if there is one.
static void load_modules(void) {
  FILE *order = fopen("/modules/order", "re");
  if (!order) return;
  char name[64];
  while (fscanf(order, "%63s", name) == 1) {
    char path[80];
    snprintf(path, sizeof path, "/modules/%s", name);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    // It is there already if this program has started anew.
    if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) && errno != EEXIST)) {
      give_up("cannot load module", name);
    }
    close(fd);
  }
  fclose(order);
}

#define PORT "/sys/bus/pci/devices/0000:00:10.0"
static int open_port(void) {
  // The kernel's own serial driver has switched the device on; its tty is not
  // used, as that would cost an interrupt and several exits for each byte.
  return open(PORT "/resource0", O_RDWR | O_CLOEXEC);
}

static void start_worker(struct Worker *worker) {
  pthread_attr_t attributes;
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  CPU_SET((size_t)worker->cpu, &cpus);
  pthread_attr_init(&attributes);
  pthread_attr_setaffinity_np(&attributes, sizeof cpus, &cpus);
  if (pthread_create(&worker->thread, &attributes, work, worker)) {
    give_up("worker", "cannot be started");
  }
}

// Until the host says "go". Sets when work begins.
static void await_go(void) {
  mark_line("HELD");
  int command;
  do {
    sleep_until(now_ns() + 5 * kNsPerMs);
    command = take_command();
  } while (command == kNoCommand || command == kHold);
  lead_ns = command * kNsPerSec;
  epoch_ns = now_ns() + 100 * kNsPerMs + lead_ns;
  mark_line("LEAD %d", command);
}

// Once the host says "hold", starts this program anew: that ends all workers.
static _Noreturn void await_hold(void) {
  while (take_command() != kHold) sleep_until(now_ns() + kNsPerSec / 4);
  char turns[24];
  snprintf(turns, sizeof turns, "%llu", (unsigned long long)turns_per_ms);
  setenv("LAB_CAL", turns, 1);
  execl("/init", "/init", (char *)NULL);
  give_up("hold", "cannot start anew");
}

int main(void) {
  if (getpid() != 1) {
    fputs("labworkload is the init of a lab guest; see labguest\n", stderr);
    return 2;
  }
  mkdir("/dev", 0755);
  mount("devtmpfs", "/dev", "devtmpfs", 0, "");
  mkdir("/sys", 0755);
  mount("sysfs", "/sys", "sysfs", 0, "");
  mkdir("/proc", 0755);
  mount("proc", "/proc", "proc", 0, "");
  share_lines();
  // What ran before this program started anew has given its memory back then.
  while (wait(NULL) > 0) continue;
  port_fd = open_port();
  if (port_fd < 0) {
    perror("labworkload: " PORT);  // seen with labguest start --console
    return 1;
  }
  load_modules();

  const char *text = getenv("LAB_WORKLOAD");
  char *copy = strdup(text ? text : "idle");
  parse_workload(copy);
  free(copy);
  text = getenv("LAB_SEED");
  if (text) seed = strtoull(text, NULL, 0);
  text = getenv("LAB_MARKS");
  marking = !text || strcmp(text, "0");
  if (workload.kind == kReplay) read_replay();

  cpu_set_t cpus;
  sched_getaffinity(0, sizeof cpus, &cpus);
  const int vcpus = CPU_COUNT(&cpus);
  workers = workload.workers ? workload.workers : vcpus;
  if (workload.kind >= kSurge) workers = 1;
  if (workers > vcpus || workers > kWorkersMax) {
    give_up("workload", "more workers than vCPUs");
  }
  text = getenv("LAB_CAL");
  turns_per_ms = text ? strtoull(text, NULL, 0) : calibrate();
  mark_line("CAL %llu", (unsigned long long)turns_per_ms);

  if (workload.kind == kFreed) free_touched(workload.argument[0]);

  text = getenv("LAB_HOLD");
  const bool held = text && !strcmp(text, "1");
  static struct Worker all[kWorkersMax];
  epoch_ns = now_ns() + 100 * kNsPerMs;
  if (held) await_go();
  for (int i = 0; i < workers; ++i) {
    all[i].cpu = i;
    // With sync all draw the same numbers, so jitter keeps them together.
    all[i].random = seed * 1000003u + (workload.sync ? 0 : (uint64_t)i);
    all[i].lead_random = ~all[i].random;
    start_worker(&all[i]);
  }
  sleep_until(epoch_ns);
  mark_line("READY");
  if (held) await_hold();
  rest();
}
