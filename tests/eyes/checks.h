// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <span>
#include <string>
#include <vector>

namespace outrider::check {

/// Acceptance 3: run and wait against schedstat; the sum against the wall.
void check_accounting(std::span<const pid_t> pids, double seconds);

/// Acceptance 3: (run + wait) of a vCPU that is always busy, in 10 ms reads.
void check_busy(pid_t pid, double seconds);

/// Acceptance 2: vCPUs that wake together on one CPU demand what they run.
void check_together(pid_t pid, double seconds, double want_cpus);

/// Acceptance 2: under a cap an upper bound; after it is lifted (by writing
/// `max` into `cpu_max`) what the workload does, within three periods.
void check_capped(pid_t pid, const std::string& cpu_max, double want_cpus);

/// Acceptance 3: `vms` minivms of `minivm` come and go, and what command
/// `others` (empty: none) starts and stops meanwhile; nothing stays behind.
void check_churn(const std::string& minivm, int vms,
                 const std::vector<std::string>& others);

/// Discovery: a VM that comes or goes is noticed within 100 ms.
void check_discovery(const std::string& minivm, int times);

/// Acceptance 6: what the whole agent allocates in `seconds` of ticks, with the
/// VMs that are there.
void check_ticks(int seconds);

/// What the eyes see of memory, a line of JSON a read: of the host and, in this
/// order, of the VMs. The first line has limits, and what is not seen.
void print_memory(int period_ms, int count, std::span<const pid_t> pids);

/// Every program that this host wants loads on this kernel.
void check_programs();

}  // namespace outrider::check
