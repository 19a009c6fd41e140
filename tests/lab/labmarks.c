// SPDX-License-Identifier: Apache-2.0
// Stamps what a lab guest writes to its mark port with this machine's
// CLOCK_MONOTONIC: reads the pipe FIFO, appends lines to FILE.
//
//   <ns> B <vcpu> <sequence>    a burst began  (one byte, see labworkload.c)
//   <ns> E <vcpu> <sequence>    it ended
//   <ns> CAL <n> | READY | DONE <vcpu> | ERROR <why>
//
// It runs at a real-time priority, so that a busy host does not delay a stamp
// by a time slice; the work per mark is a few microseconds.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static int64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static struct {
  char text[160];
  size_t length;
  int64_t first_ns;  // when its first byte came
} line;

static uint64_t begins[64], ends[64];

static void take(FILE *out, unsigned char byte, int64_t when_ns) {
  if (byte & 0x80) {
    const int vcpu = byte & 0x3f;
    const int is_end = byte & 0x40;
    const uint64_t sequence = is_end ? ends[vcpu]++ : begins[vcpu]++;
    fprintf(out, "%" PRId64 " %c %d %" PRIu64 "\n", when_ns, is_end ? 'E' : 'B',
            vcpu, sequence);
    return;
  }
  if (!line.length) line.first_ns = when_ns;
  if (byte == '\n') {
    fprintf(out, "%" PRId64 " %.*s\n", line.first_ns, (int)line.length,
            line.text);
    line.length = 0;
  } else if (line.length < sizeof line.text) {
    line.text[line.length++] = (char)byte;
  }
}

int main(int argc, char **argv) {
  if (argc != 3) {
    fputs("usage: labmarks FIFO FILE\n", stderr);
    return 2;
  }
  const struct sched_param priority = {.sched_priority = 50};
  sched_setscheduler(0, SCHED_FIFO, &priority);
  mlockall(MCL_CURRENT | MCL_FUTURE);
  const int in = open(argv[1], O_RDONLY | O_CLOEXEC);
  FILE *out = fopen(argv[2], "we");
  if (in < 0 || !out) {
    fprintf(stderr, "labmarks: open: %s\n", strerror(errno));
    return 1;
  }
  for (;;) {
    unsigned char bytes[256];
    const ssize_t count = read(in, bytes, sizeof bytes);
    const int64_t when_ns = now_ns();
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return count < 0;  // 0: the emulator is gone
    for (ssize_t i = 0; i < count; ++i) take(out, bytes[i], when_ns);
    fflush(out);
  }
}
