// SPDX-License-Identifier: Apache-2.0
// What the parts of a lab guest's user space share: time, marks, chance.
#pragma once
#include <stdint.h>

enum { kMarkBegin = 0x80, kMarkEnd = 0xc0 };
static const int64_t kNsPerMs = 1000000;
static const int64_t kNsPerSec = 1000000000;
static const int64_t kTickNs = 10000000;  // of workloads that follow a time

// CLOCK_MONOTONIC of the guest.
int64_t now_ns(void);
void sleep_until(int64_t when_ns);

// One line of text, whole whatever other threads and processes mark; at most
// 159 characters.
void mark_line(const char *format, ...);
// kind: kMarkBegin or kMarkEnd; nothing where bursts are not to be marked.
void mark_burst(int kind, int cpu);
_Noreturn void give_up(const char *why, const char *what);

// uniform in [0, 1)
double next_fraction(uint64_t *state);
