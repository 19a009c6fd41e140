/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The contract between memory.bpf.c and user space. As in records.h all of it
 * is cumulative; times are nanoseconds of CLOCK_MONOTONIC.
 */
#ifndef OUTRIDER_MEMORY_RECORDS_H
#define OUTRIDER_MEMORY_RECORDS_H

#include <linux/types.h>

#ifndef __cplusplus
#define static_assert _Static_assert
#endif

#define EYES_MEMORY_SLOTS_MAX 4096    /* slot 0 is all that is no VM's */
#define EYES_MEMORY_CGROUPS_MAX 16384 /* a VM's, and those below it */
/* Threads that reclaim at one time; more are counted but not timed. */
#define EYES_MEMORY_RECLAIMERS_MAX 1024

/* One VM. Many threads write: by atomic additions. */
struct eyes_memory {
	__u64 first_touches; /* pages that a vCPU touched and KVM had not */
	__u64 direct_reclaims;	 /* begun by the VM's own threads */
	__u64 direct_reclaim_ns; /* of those that ended */
	__u64 memcg_reclaims;	 /* begun, of its cgroups, by anybody */
	__u64 memcg_reclaim_ns;	 /* of those that ended */
	__u64 memcg_pages;	 /* freed by them */
	__u64 untimed;		 /* there was no room for their beginning */
	__u64 pad;
};
static_assert(sizeof(struct eyes_memory) == 64, "one cache line");

#endif
