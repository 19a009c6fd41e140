/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The contract between the BPF programs and user space.
 *
 * Everything here is cumulative: no rates, no means, no decisions. Times are
 * nanoseconds; "rq clock" is the scheduler's own clock (rq->clock), whose
 * offset from CLOCK_MONOTONIC is in struct eyes_clock.
 */
#ifndef OUTRIDER_RECORDS_H
#define OUTRIDER_RECORDS_H

#include <linux/types.h>

#ifndef __cplusplus
#define static_assert _Static_assert
#endif

/* Bounds. What does not fit is counted in struct eyes_lost. */
#define EYES_THREADS_MAX 16384 /* slot 0 is "no thread" */
#define EYES_VMS_MAX 4096      /* slot 0 is "no VM" */
#define EYES_PIDS_MAX 4194304  /* PID_MAX_LIMIT of a 64-bit kernel */
#define EYES_BLAME_MAX 2048    /* (waiter, holder) pairs */
#define EYES_PAGE_BYTES 4096
#define EYES_RING_BYTES (256 * 1024)

/* The VM slot of the agent's own loop thread. */
#define EYES_VM_AGENT 1

enum eyes_class {
	EYES_VCPU,
	EYES_EMULATOR,
	EYES_IOTHREAD,
	EYES_VHOST,
	EYES_AGENT,
};

enum eyes_state {
	EYES_UNKNOWN, /* attached, but neither switched nor woken since */
	EYES_SLEEPING,
	EYES_WAITING,
	EYES_RUNNING,
	EYES_DEAD, /* figures are final; user space takes the slot back */
};

enum eyes_exit {
	EYES_EXIT_HALT,
	EYES_EXIT_IO,
	EYES_EXIT_MMIO,
	EYES_EXIT_MSR,
	EYES_EXIT_INTERRUPT,
	EYES_EXIT_PAGE_FAULT,
	EYES_EXIT_OTHER,
	EYES_EXIT_CLASSES,
};

/*
 * One thread: what a context switch writes, in one cache line.
 *
 * Written under the run queue's lock or by the thread itself, so there is one
 * writer at a time. A reader takes what it read only if `seq` was even and the
 * same before and after.
 *
 * run_ns is the scheduler's own sum (se.sum_exec_runtime) as of `since`.
 */
struct eyes_thread {
	__u32 seq;
	__u16 vm;
	__u8 class_; /* enum eyes_class */
	__u8 state;  /* enum eyes_state */
	__u64 since; /* rq clock when the state began */
	__u64 run_ns;
	__u64 wait_ns;
	__u64 busy_run_ns;  /* run_ns when the busy period began */
	__u64 busy_wait_ns; /* wait_ns when the busy period began */
	__u32 wakeups;
	__u32 migrations;
	__u32 cpu; /* where it ran last */
	__u32 tid;
};
static_assert(sizeof(struct eyes_thread) == 64, "one cache line");

/* What KVM says of the thread of the same slot, and its identity. */
struct eyes_vcpu {
	__u64 exits[EYES_EXIT_CLASSES];
	__u64 halt_poll_ns; /* since the vCPU was created */
	__u64 guest_ns;     /* in guest mode, if measured */
	__u64 entered_ns;   /* CLOCK_MONOTONIC of the last entry, if measured */
	__u32 serial;       /* of the slot's user: rises, never the same twice */
	__u32 vcpu_id;
	__u8 halted;     /* an exit to halt since the last entry */
	__u8 last_class; /* enum eyes_exit of the last exit, + 1; 0 once refined */
	__u8 pad[6];
};
static_assert(sizeof(struct eyes_vcpu) == 96, "records are packed");

/* One VM. User space writes the thresholds; 0 switches an edge off. */
struct eyes_vm {
	__u64 quota_edge_ns; /* remaining quota for each running vCPU at which
			      * to call */
	__u64 wait_edge_ns;  /* wait within EYES_WAIT_WINDOW_NS likewise */
	__u64 wait_window_start;
	__u64 wait_in_window;
	/*
	 * Time with no vCPU asleep: the clock is taken off when the last one
	 * wakes and added when the first one sleeps, so below 0 it is running.
	 */
	__u64 all_runnable_ns;
	__u32 threads;  /* attached and alive */
	__u32 vcpus;
	__u32 asleep; /* of the vCPUs */
	__u32 tgid;
	__u32 quota_fired_at; /* rq clock / 2^20, about ms */
	__u8 quota_fired; /* until there is more again, and for 10 ms */
	__u8 wait_fired;  /* within this window */
	__u8 pad[2];
};
static_assert(sizeof(struct eyes_vm) == 64, "one cache line");

#define EYES_WAIT_WINDOW_NS 10000000ULL

/*
 * One instant in both clocks, taken when the agent's thread is switched in.
 * A reader uses it as it does a thread: by `seq`.
 */
struct eyes_clock {
	__u32 seq;
	__u32 pad;
	__u64 monotonic_ns;
	__u64 rq_ns;
	__u64 rq_minus_monotonic; /* in one word, for programs */
};

struct eyes_lost {
	__u64 threads; /* no slot left */
	__u64 events;  /* ring full */
	__u64 blame;   /* no room for a pair */
};

enum eyes_event_kind {
	EYES_EVENT_NEW_VM,  /* a process entered a guest and is no VM of ours */
	EYES_EVENT_VM_GONE, /* the last thread of `vm` has exited */
	EYES_EVENT_RENAMED, /* a thread of `vm` has a new name: class may follow */
	EYES_EVENT_MOVED,   /* `tgid`, of `vm`, is in another cgroup */
	EYES_EVENT_KTHREAD, /* a thread of `vm` named kernel thread `tid` */
	EYES_EVENT_QUOTA_EDGE, /* value_ns: quota left */
	EYES_EVENT_WAIT_EDGE,  /* value_ns: waited within the window */
};

struct eyes_event {
	__u32 kind; /* enum eyes_event_kind */
	__u32 vm;
	__u32 tid;
	__u32 tgid;
	__u64 monotonic_ns;
	__u64 value_ns;
};
static_assert(sizeof(struct eyes_event) == 32, "records are packed");

enum eyes_holder { EYES_HOLDER_VM, EYES_HOLDER_TASK, EYES_HOLDER_IDLE };

struct eyes_blame_key {
	__u16 waiter; /* VM slot */
	__u16 holder; /* enum eyes_holder */
	__u32 who;    /* VM slot or tgid */
};

#endif
