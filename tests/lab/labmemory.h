// SPDX-License-Identifier: Apache-2.0
// What a lab guest does with memory. Each load runs in a process of its own,
// which the guest's OOM killer may take: that is marked, and it begins anew.
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct MemoryLoad {
  int64_t epoch_ns;      // the workload's time 0
  int64_t lead_ns;       // by which it begins earlier
  uint64_t random;       // state of next_fraction, for times from 0 on
  uint64_t lead_random;  // the same for the time before
  double from_mib;       // held all the time
  double job_mib;        // freed: what a job takes beside that; 0 = no jobs
  double offset_sec;     // freed: when in its period a job begins
  double to_mib;         // held at a surge's top
  double mib_per_sec;    // how fast it goes there
  double hold_sec;       // how long it stays there
  double period_sec;     // from one surge to the next
  double jitter;         // 0..1 of what a period leaves free
};

// surge: holds `from_mib`; in each period it touches new memory page by page
// until it holds `to_mib`, stays, and gives it back. Marks the begin of the
// touching and its end, and after that lines:
//   STEPS <first> <t>...     how long each MiB took, in 0.1 ms
//   HOLD <steps> <t> <sum>   what it holds is touched again, in turn: how many
//                            MiB, the longest and all of them in 0.1 ms
//   VM <name> <value>...     the guest's own counters, see mark_counters
_Noreturn void run_surges(const struct MemoryLoad *load);

// pressure, freed: holds `from_mib` and touches all of it once a second, a
// tenth at a time. Each second a line WORK <tenths done so far> <longest in 0.1
// ms>, each fifth one a line VM.
_Noreturn void run_steady(const struct MemoryLoad *load);

// Touches `mib` and gives it back: free memory of the guest, which the host has
// resident all the same, unless the guest reports free pages.
void free_touched(double mib);

struct TouchLoad {
  int64_t epoch_ns;    // the workload's time 0
  double mib_per_sec;  // how fast
  double mib;          // how much
  bool loops;          // over the same memory again and again
};
// touch: writes to memory that it has not used before, page by page. Who was
// late catches up, so that the rate is true. Marks TOUCHED <MiB so far>.
void touch_memory(const struct TouchLoad *load);
