// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "labmemory.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "labworkload.h"

enum { kPage = 4096, kMib = 1 << 20, kParts = 10 };
// What a job touches in each tenth of a second: 24 MiB/s.
enum { kJobPart = 24 * kMib / kParts / kPage * kPage };

static uint32_t tenths(int64_t ns) { return (uint32_t)(ns / (kNsPerMs / 10)); }

// --- Memory ------------------------------------------------------------------

static unsigned char *map_mib(size_t mib) {
  void *at = mmap(NULL, mib * kMib, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) give_up("memory", "cannot be mapped");
  // Page by page: with huge pages every second MiB would cost nothing.
  madvise(at, mib * kMib, MADV_NOHUGEPAGE);
  return at;
}

// Writes into each page of [at, at + bytes), never only zeros. How long it
// took.
static int64_t touch(unsigned char *at, size_t bytes) {
  const int64_t start = now_ns();
  for (size_t i = 0; i < bytes; i += kPage) {
    volatile uint64_t *word = (volatile uint64_t *)(at + i);
    *word += (uintptr_t)word | 1;
  }
  return now_ns() - start;
}

// --- What the guest itself counts --------------------------------------------

// The sum of what `path` has under names that begin with `name`.
static long long count_of(const char *path, const char *name) {
  FILE *file = fopen(path, "re");
  if (!file) return -1;
  char line[128];
  long long sum = 0;
  const size_t length = strlen(name);
  while (fgets(line, sizeof line, file)) {
    if (strncmp(line, name, length)) continue;
    const char *value = strpbrk(line, " ");
    if (value) sum += atoll(value);
  }
  fclose(file);
  return sum;
}

// `kind`: "some" or "full". Microseconds that the guest's tasks waited for
// memory; -1 where the kernel does not say.
static long long pressure_us(const char *kind) {
  FILE *file = fopen("/proc/pressure/memory", "re");
  if (!file) return -1;
  char line[128];
  long long total = -1;
  while (fgets(line, sizeof line, file)) {
    const char *value = strstr(line, "total=");
    if (!strncmp(line, kind, 4) && value) total = atoll(value + 6);
  }
  fclose(file);
  return total;
}

static void mark_counters(void) {
  static const char vmstat[] = "/proc/vmstat";
  mark_line(
      "VM pgmajfault %lld pswpin %lld allocstall %lld oom_kill %lld "
      "some_us %lld full_us %lld available_kib %lld",
      count_of(vmstat, "pgmajfault "), count_of(vmstat, "pswpin "),
      count_of(vmstat, "allocstall_"), count_of(vmstat, "oom_kill "),
      pressure_us("some"), pressure_us("full"),
      count_of("/proc/meminfo", "MemAvailable:"));
}

// --- A process that may be killed --------------------------------------------

// Runs `body` in one, and anew when the guest's OOM killer has taken it. It
// ends with the thread that called this.
static _Noreturn void keep_running(void (*body)(const struct MemoryLoad *),
                                   const struct MemoryLoad *load) {
  for (;;) {
    const pid_t child = fork();
    if (child < 0) give_up("memory", "cannot fork");
    if (child == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      const int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
      (void)!write(fd, "1000", 4);
      close(fd);
      body(load);
      _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    mark_line("KILLED %d", WIFSIGNALED(status) ? WTERMSIG(status) : 0);
    sleep_until(now_ns() + kNsPerSec);
  }
}

// --- surge -------------------------------------------------------------------

struct Surge {
  unsigned char *memory;  // from_mib that are kept, and what a surge adds
  uint32_t *took;         // of each MiB that a surge adds, in 0.1 ms
  size_t from, to;        // MiB
  int64_t step_ns;        // from one MiB to the next
};

static void rise(const struct Surge *surge, int64_t begin_ns) {
  mark_burst(kMarkBegin, 0);
  for (size_t mib = surge->from; mib < surge->to; ++mib) {
    sleep_until(begin_ns + (int64_t)(mib - surge->from) * surge->step_ns);
    surge->took[mib - surge->from] =
        tenths(touch(surge->memory + mib * kMib, kMib));
  }
  mark_burst(kMarkEnd, 0);
}

static void mark_steps(const struct Surge *surge) {
  enum { kFiguresPerLine = 16 };
  const size_t count = surge->to - surge->from;
  for (size_t first = 0; first < count; first += kFiguresPerLine) {
    char line[160];
    int length = snprintf(line, sizeof line, "STEPS %zu", first);
    for (size_t i = first; i < count && i < first + kFiguresPerLine; ++i) {
      length += snprintf(line + length, sizeof line - (size_t)length, " %u",
                         surge->took[i]);
    }
    mark_line("%s", line);
  }
}

// Touches the first `mib` again and again, at the pace of a surge.
static void stay(const struct Surge *surge, size_t mib, int64_t until_ns) {
  int64_t longest = 0, all = 0, next = now_ns();
  unsigned steps = 0;
  for (; mib > 0 && next < until_ns; ++steps) {
    sleep_until(next);
    const int64_t took = touch(surge->memory + steps % mib * kMib, kMib);
    if (took > longest) longest = took;
    all += took;
    next += surge->step_ns;
    if (next < now_ns()) next = now_ns();
  }
  sleep_until(until_ns);
  mark_line("HOLD %u %u %u", steps, tenths(longest), tenths(all));
}

static void fall(const struct Surge *surge) {
  madvise(surge->memory + surge->from * kMib, (surge->to - surge->from) * kMib,
          MADV_DONTNEED);
}

static void repeat_surges(const struct MemoryLoad *load) {
  struct Surge surge = {.from = (size_t)load->from_mib,
                        .to = (size_t)load->to_mib,
                        .step_ns = (int64_t)(1e9 / load->mib_per_sec)};
  const size_t steps = surge.to - surge.from;
  surge.memory = map_mib(surge.to);
  surge.took = malloc(steps * sizeof *surge.took);
  if (!surge.took) give_up("surge", "out of memory");
  memset(surge.took, 0, steps * sizeof *surge.took);
  sleep_until(load->epoch_ns - load->lead_ns);
  touch(surge.memory, surge.from * kMib);
  mark_counters();

  const int64_t period = (int64_t)(load->period_sec * 1e9);
  const int64_t hold = (int64_t)(load->hold_sec * 1e9);
  const int64_t room = period - (int64_t)steps * surge.step_ns - hold;
  uint64_t random = load->random, lead_random = load->lead_random;
  for (int64_t index = -(load->lead_ns / period);; ++index) {
    const double shift =
        load->jitter * next_fraction(index < 0 ? &lead_random : &random);
    const int64_t begin =
        load->epoch_ns + index * period + (int64_t)(shift * (double)room);
    if (begin < now_ns()) continue;
    stay(&surge, surge.from, begin);
    rise(&surge, begin);
    const int64_t top = now_ns();
    mark_counters();
    mark_steps(&surge);
    stay(&surge, surge.to, top + hold);
    fall(&surge);
  }
}

void run_surges(const struct MemoryLoad *load) {
  keep_running(repeat_surges, load);
}

// --- pressure, freed ---------------------------------------------------------

struct Job {
  unsigned char *memory;  // NULL: none is running
  size_t done;            // bytes
  int64_t begin_ns;
  int64_t next_ns;  // when the next one begins
};

static void advance(struct Job *job, const struct MemoryLoad *load) {
  const size_t bytes = (size_t)load->job_mib * kMib;
  if (!bytes) return;
  if (!job->memory) {
    if (now_ns() < job->next_ns) return;
    *job = (struct Job){.memory = map_mib((size_t)load->job_mib),
                        .begin_ns = now_ns(),
                        .next_ns = job->next_ns};
    while (job->next_ns <= now_ns()) {
      job->next_ns += (int64_t)(load->period_sec * 1e9);
    }
  }
  const size_t rest = bytes - job->done;
  const size_t part = rest < kJobPart ? rest : kJobPart;
  touch(job->memory + job->done, part);
  job->done += part;
  if (job->done < bytes) return;
  munmap(job->memory, bytes);
  job->memory = NULL;
  mark_line("JOB %u", tenths(now_ns() - job->begin_ns) / 10);
}

static void repeat_parts(const struct MemoryLoad *load) {
  const size_t mib = (size_t)load->from_mib;
  const size_t part = mib * kMib / kParts / kPage * kPage;
  unsigned char *memory = map_mib(mib);
  sleep_until(load->epoch_ns - load->lead_ns);
  touch(memory, mib * kMib);
  const int64_t start = now_ns();
  struct Job job = {.next_ns =
                        load->epoch_ns + (int64_t)(load->offset_sec * 1e9)};
  unsigned done = 0;
  int64_t longest = 0;
  for (int64_t tick = 1;; ++tick) {
    sleep_until(start + tick * kNsPerSec / kParts);
    const int64_t took = touch(memory + (size_t)(tick % kParts) * part, part);
    if (took > longest) longest = took;
    ++done;
    advance(&job, load);
    if (tick % kParts == 0) {
      mark_line("WORK %u %u", done, tenths(longest));
      longest = 0;
    }
    if (tick % (5 * kParts) == 0) mark_counters();
    // What was missed is missed, as work that comes at its own pace would be;
    // but whole seconds are told.
    const int64_t current = (now_ns() - start) * kParts / kNsPerSec;
    while (tick < current && (tick + 1) % kParts) ++tick;
  }
}

void run_steady(const struct MemoryLoad *load) {
  keep_running(repeat_parts, load);
}

void free_touched(double mib) {
  const size_t bytes = (size_t)mib * kMib;
  unsigned char *memory = map_mib((size_t)mib);
  touch(memory, bytes);
  munmap(memory, bytes);
}

void touch_memory(const struct TouchLoad *load) {
  enum { kPagesPerMib = kMib / kPage };
  const double pages_per_ns = load->mib_per_sec * kPagesPerMib / 1e9;
  const int64_t pages = (int64_t)(load->mib * kPagesPerMib);
  char *memory = mmap(NULL, (size_t)pages * kPage, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) give_up("touch", "no memory");
  int64_t told_ns = load->epoch_ns;
  for (int64_t done = 0; load->loops || done < pages;) {
    sleep_until(now_ns() + kTickNs);
    const int64_t now = now_ns();
    int64_t due = (int64_t)((double)(now - load->epoch_ns) * pages_per_ns);
    if (!load->loops && due > pages) due = pages;
    for (; done < due; ++done) ++memory[done % pages * kPage];
    if (now - told_ns < kNsPerSec / 2 && done != pages) continue;
    told_ns = now;
    mark_line("TOUCHED %.3f", (double)done / kPagesPerMib);
  }
}
