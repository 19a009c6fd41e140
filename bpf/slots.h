/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Memory shared with user space, and the life of a thread's slot.
 *
 * All of it is .bss, which user space maps: reading costs no syscall, and a
 * program reaches a slot by adding to a constant address. The index by pid was
 * measured against task local storage and hashes; it is the only one that
 * leaves threads of no VM with less than 6 ns.
 */
#ifndef OUTRIDER_SLOTS_H
#define OUTRIDER_SLOTS_H

#include "kernel.h"
#include "records.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

/*
 * The three large arrays begin at pages of their own: user space keeps only
 * those pages of them mapped that it uses.
 */
#define OWN_PAGES __attribute__((aligned(EYES_PAGE_BYTES)))

/* tid -> slot in threads[] and vcpus[]; 0: no thread of ours. */
__u16 slot_of_pid[EYES_PIDS_MAX] OWN_PAGES;
struct eyes_thread threads[EYES_THREADS_MAX] OWN_PAGES;
struct eyes_vcpu vcpus[EYES_THREADS_MAX] OWN_PAGES;
struct eyes_vm vms[EYES_VMS_MAX] OWN_PAGES;
struct eyes_clock clock_pair;
struct eyes_lost lost;

/*
 * Free slots: a queue that user space fills (free_tail) and that programs take
 * from (free_head, by compare and swap: they run on all CPUs).
 */
__u16 free_slots[EYES_THREADS_MAX];
__u32 free_head;
__u32 free_tail;

__u32 serial_last;
__u32 generation; /* rises when a thread came, went or changed its class */

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, EYES_RING_BYTES);
} events SEC(".maps");

/* Told of already: tgid -> start time. Full or not, it only saves repeats. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u64);
} told SEC(".maps");

#define barrier() asm volatile("" ::: "memory")

/*
 * A slot number as an index that the verifier sees to be in bounds. Without
 * the asm the compiler proves the mask needless and leaves it out.
 */
#define BOUNDED(index, bound)                              \
	({                                                 \
		__u64 bounded_ = (index);                  \
		asm volatile("" : "+r"(bounded_));         \
		bounded_ & ((bound) - 1);                  \
	})

static __always_inline __u32 slot_of(__u32 pid)
{
	return slot_of_pid[pid & (EYES_PIDS_MAX - 1)];
}

static __always_inline struct eyes_thread *thread_at(__u32 slot)
{
	return &threads[BOUNDED(slot, EYES_THREADS_MAX)];
}

static __always_inline struct eyes_vcpu *vcpu_at(__u32 slot)
{
	return &vcpus[BOUNDED(slot, EYES_THREADS_MAX)];
}

static __always_inline struct eyes_vm *vm_at(__u32 vm)
{
	return &vms[BOUNDED(vm, EYES_VMS_MAX)];
}

static __always_inline __u64 rq_clock_of(struct task_struct *task)
{
	return task->se.cfs_rq->rq->clock;
}

/*
 * False when the ring is full. Never called in a plain switch: reading the
 * clock costs more than it does.
 */
static __noinline int tell(__u32 kind, __u32 vm, __u64 tgid_tid, __u64 value_ns)
{
	struct eyes_event *event;
	__u64 wakeup = BPF_RB_FORCE_WAKEUP;

	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event) {
		__sync_fetch_and_add(&lost.events, 1);
		return 0;
	}
	event->kind = kind;
	event->vm = vm;
	event->tid = (__u32)tgid_tid;
	event->tgid = tgid_tid >> 32;
	event->monotonic_ns = bpf_ktime_get_ns();
	event->value_ns = value_ns;
	bpf_ringbuf_submit(event, wakeup);
	return 1;
}

static __always_inline __u64 tgid_tid(struct task_struct *task)
{
	return (__u64)task->tgid << 32 | (__u32)task->pid;
}

/* A slot from the queue, or 0 when there is none. */
static __always_inline __u32 take_slot(void)
{
	for (int i = 0; i < 8; i++) {
		__u32 head = *(volatile __u32 *)&free_head;

		if (head == *(volatile __u32 *)&free_tail)
			break;
		if (__sync_val_compare_and_swap(&free_head, head, head + 1) ==
		    head)
			return free_slots[BOUNDED(head, EYES_THREADS_MAX)];
	}
	__sync_fetch_and_add(&lost.threads, 1);
	return 0;
}

/* Gives a new thread of a VM a slot; its first event finds it unknown. */
static __always_inline void adopt(struct task_struct *task, __u32 vm,
				  __u8 class_)
{
	__u32 slot = take_slot();
	struct eyes_thread *thread = thread_at(slot);
	struct eyes_vcpu *vcpu = vcpu_at(slot);

	if (!slot)
		return;
	__builtin_memset(thread, 0, sizeof(*thread));
	__builtin_memset(vcpu, 0, sizeof(*vcpu));
	thread->vm = vm;
	thread->class_ = class_;
	thread->tid = task->pid;
	vcpu->serial = __sync_fetch_and_add(&serial_last, 1) + 1;
	__sync_fetch_and_add(&vm_at(vm)->threads, 1);
	barrier();
	slot_of_pid[task->pid & (EYES_PIDS_MAX - 1)] = slot;
	__sync_fetch_and_add(&generation, 1);
}

#endif
