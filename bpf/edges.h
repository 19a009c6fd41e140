/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Edges: calls to the loop between its ticks, when a VM is about to meet its
 * limit and when its waiting climbs. User space sets the thresholds.
 */
#ifndef OUTRIDER_EDGES_H
#define OUTRIDER_EDGES_H

#include "slots.h"

/*
 * What is left of the tightest quota above `task`: the group's pool plus this
 * CPU's slice, of each level that has a quota. Very much without one. `quota`
 * is that level's, for a whole period.
 */
static __always_inline __u64 quota_left(struct task_struct *task, __u64 *quota)
{
	struct cfs_rq *cfs_rq = task->se.cfs_rq;
	struct sched_entity *parent = task->se.parent;
	__s64 least = (__s64)(~0ULL >> 1);

	*quota = ~0ULL;
#pragma unroll
	for (int level = 0; level < 6; level++) {
		if (cfs_rq->runtime_enabled) {
			__s64 left = cfs_rq->runtime_remaining +
				     (__s64)cfs_rq->tg->cfs_bandwidth.runtime;

			if (left < least) {
				least = left;
				*quota = cfs_rq->tg->cfs_bandwidth.quota;
			}
		}
		if (!parent)
			break;
		cfs_rq = parent->cfs_rq;
		parent = parent->parent;
	}
	return least < 0 ? 0 : least;
}

/* vCPUs that draw on the quota. The counts move apart from each other. */
static __always_inline __u64 running_vcpus(struct eyes_vm *vm)
{
	__u32 running = vm->vcpus - vm->asleep;

	return running - 1 < EYES_THREADS_MAX ? running : 1;
}

/*
 * Calls once as the quota runs out, and again after it was refilled: n running
 * vCPUs use it up n times as fast, so they are called for n times as early. A
 * quota that is small itself is near its end at half of it. CPUs hold slices
 * that cannot be seen from here, so what is left seems to rise and fall: no
 * more than one call in 10 ms, whatever the guest does.
 */
static __always_inline void check_quota(struct eyes_thread *thread,
					struct task_struct *task)
{
	struct eyes_vm *vm = vm_at(thread->vm);
	__u64 edge = vm->quota_edge_ns;
	__u64 left, quota;
	__u32 now;

	if (!edge)
		return;
	left = quota_left(task, &quota);
	if (edge < quota / 2)
		edge *= running_vcpus(vm);
	if (edge > quota / 2)
		edge = quota / 2;
	now = rq_clock_of(task) >> 20;
	if (left > edge) {
		if (now - vm->quota_fired_at > 10)
			vm->quota_fired = 0;
	} else if (!vm->quota_fired) {
		vm->quota_fired = 1;
		vm->quota_fired_at = now;
		tell(EYES_EVENT_QUOTA_EDGE, thread->vm, tgid_tid(task), left);
	}
}

static __always_inline void check_wait(struct eyes_thread *thread,
				       struct task_struct *task, __u64 now,
				       __u64 waited)
{
	struct eyes_vm *vm = vm_at(thread->vm);

	if (!vm->wait_edge_ns)
		return;
	if (now - vm->wait_window_start > EYES_WAIT_WINDOW_NS) {
		vm->wait_window_start = now;
		vm->wait_in_window = 0;
		vm->wait_fired = 0;
	}
	vm->wait_in_window += waited;
	if (vm->wait_in_window >= vm->wait_edge_ns && !vm->wait_fired) {
		vm->wait_fired = 1;
		tell(EYES_EVENT_WAIT_EDGE, thread->vm, tgid_tid(task),
		     vm->wait_in_window);
	}
}

#endif
