// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What each thread of an attached VM demands: time running, time runnable but
 * waiting, the busy period still open, and what KVM says of its vCPUs.
 *
 * Runnable is `preempt || prev_state == 0`: a task preempted between setting
 * its state and calling schedule() has a state that is not 0 and yet runs on.
 */
#include "edges.h"

/* Chosen before loading; what is off costs nothing. */
const volatile __u8 edges_on;
const volatile __u8 guest_time_on;
/* Look at a wait when its hash is below this: 2^32 / N for one in N. */
const volatile __u32 blame_below;
const volatile __u32 blame_every;

/* Host tasks come and go: the pairs that were not seen longest make room. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, EYES_BLAME_MAX);
	__type(key, struct eyes_blame_key);
	__type(value, __u64);
} blame SEC(".maps");

static __always_inline void vcpu_sleeps(struct eyes_vm *vm, __u64 now)
{
	if (__sync_fetch_and_add(&vm->asleep, 1) == 0)
		__sync_fetch_and_add(&vm->all_runnable_ns, now);
}

static __always_inline void vcpu_wakes(struct eyes_vm *vm, __u64 now)
{
	if (__sync_fetch_and_add(&vm->asleep, -1) == 1)
		__sync_fetch_and_add(&vm->all_runnable_ns, -now);
}

static __always_inline void begin_busy(struct eyes_thread *thread)
{
	thread->busy_run_ns = thread->run_ns;
	thread->busy_wait_ns = thread->wait_ns;
}

/* `holder` had the CPU until now: so far as it ran on, the wait is its doing. */
static __noinline int blame_holder(struct task_struct *holder, __u32 holder_slot,
				   __u32 waiter_vm, __u64 waited)
{
	struct eyes_blame_key key = { .waiter = waiter_vm };
	__u64 stint, *sum;

	stint = holder->se.sum_exec_runtime - holder->se.prev_sum_exec_runtime;
	if (!holder->pid) {
		key.holder = EYES_HOLDER_IDLE;
		stint = waited;
	} else if (holder_slot) {
		key.holder = EYES_HOLDER_VM;
		key.who = thread_at(holder_slot)->vm;
	} else {
		key.holder = EYES_HOLDER_TASK;
		key.who = holder->tgid;
	}
	stint = (stint < waited ? stint : waited) * blame_every;
	sum = bpf_map_lookup_elem(&blame, &key);
	if (sum)
		__sync_fetch_and_add(sum, stint);
	else if (bpf_map_update_elem(&blame, &key, &stint, BPF_NOEXIST))
		__sync_fetch_and_add(&lost.blame, 1);
	return 0;
}

static __always_inline bool is_sampled(__u64 now)
{
	return (__u32)(now * 2654435761U) < blame_below;
}

static __noinline int take_clock_pair(__u64 now)
{
	clock_pair.seq++;
	barrier();
	clock_pair.monotonic_ns = bpf_ktime_get_ns();
	clock_pair.rq_ns = now;
	clock_pair.rq_minus_monotonic = now - clock_pair.monotonic_ns;
	barrier();
	clock_pair.seq++;
	return 0;
}

static __always_inline void switch_out(struct eyes_thread *thread,
				       struct task_struct *task, __u64 now,
				       bool runnable)
{
	thread->seq++;
	barrier();
	thread->run_ns = task->se.sum_exec_runtime;
	thread->since = now;
	if (runnable) {
		if (thread->state == EYES_UNKNOWN)
			begin_busy(thread);
		thread->state = EYES_WAITING;
	} else {
		if (thread->class_ == EYES_VCPU &&
		    thread->state > EYES_SLEEPING)
			vcpu_sleeps(vm_at(thread->vm), now);
		thread->state = EYES_SLEEPING;
	}
	barrier();
	thread->seq++;
}

/* Returns how long it had waited. */
static __always_inline __u64 switch_in(struct eyes_thread *thread,
				       struct task_struct *task, __u64 now)
{
	__u64 waited = 0;
	__u32 cpu = task->se.cfs_rq->rq->cpu;

	thread->seq++;
	barrier();
	if (thread->state == EYES_WAITING) {
		waited = now - thread->since;
		thread->wait_ns += waited;
	} else {
		thread->run_ns = task->se.sum_exec_runtime;
		begin_busy(thread);
		if (thread->class_ == EYES_VCPU)
			vcpu_wakes(vm_at(thread->vm), now);
	}
	thread->since = now;
	thread->state = EYES_RUNNING;
	if (thread->cpu != cpu) {
		thread->cpu = cpu;
		thread->migrations++;
	}
	barrier();
	thread->seq++;
	return waited;
}

SEC("tp_btf/sched_switch")
int BPF_PROG(on_switch, bool preempt, struct task_struct *prev,
	     struct task_struct *next, unsigned int prev_state)
{
	__u32 from = slot_of(prev->pid);
	__u32 to = slot_of(next->pid);
	struct eyes_thread *thread;
	__u64 now, waited;

	if (!(from | to))
		return 0;
	now = rq_clock_of(prev);
	if (from) {
		thread = thread_at(from);
		switch_out(thread, prev, now, preempt || !prev_state);
		if (edges_on && thread->class_ == EYES_VCPU)
			check_quota(thread, prev);
	}
	if (to) {
		thread = thread_at(to);
		waited = switch_in(thread, next, now);
		if (thread->class_ == EYES_AGENT) {
			take_clock_pair(now);
		} else if (waited && thread->class_ == EYES_VCPU) {
			if (edges_on)
				check_wait(thread, next, now, waited);
			if (blame_every && is_sampled(now))
				blame_holder(prev, from, thread->vm, waited);
		}
	}
	return 0;
}

static __always_inline void wake(struct eyes_thread *thread,
				 struct task_struct *task)
{
	__u64 now;

	if (thread->state > EYES_SLEEPING)
		return; /* woken before it got to sleep */
	now = rq_clock_of(task);
	thread->seq++;
	barrier();
	if (thread->state == EYES_UNKNOWN)
		thread->run_ns = task->se.sum_exec_runtime;
	begin_busy(thread);
	thread->since = now;
	thread->state = EYES_WAITING;
	thread->wakeups++;
	if (thread->class_ == EYES_VCPU)
		vcpu_wakes(vm_at(thread->vm), now);
	barrier();
	thread->seq++;
}

SEC("tp_btf/sched_wakeup")
int BPF_PROG(on_wakeup, struct task_struct *task)
{
	__u32 slot = slot_of(task->pid);

	if (slot)
		wake(thread_at(slot), task);
	return 0;
}

/*
 * A thread of an attached process belongs to its VM from its first wake-up.
 * This also sees vhost and io_uring workers, which sched_process_fork does not.
 */
SEC("tp_btf/sched_wakeup_new")
int BPF_PROG(on_wakeup_new, struct task_struct *task)
{
	__u32 leader = slot_of(task->tgid);
	__u32 slot;

	if (!leader || task->pid == task->tgid)
		return 0;
	if (!slot_of(task->pid) && thread_at(leader)->class_ != EYES_AGENT)
		adopt(task, thread_at(leader)->vm, EYES_EMULATOR);
	slot = slot_of(task->pid);
	if (slot)
		wake(thread_at(slot), task);
	return 0;
}

/*
 * The index lets go here, before the pid can be used again. What the thread
 * still runs until its last switch is not seen; what it ran since the last one
 * is, by the monotonic clock moved to the scheduler's.
 */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *task)
{
	__u32 slot = slot_of(task->pid);
	struct eyes_thread *thread = thread_at(slot);
	struct eyes_vm *vm;
	__u64 now;

	if (!slot)
		return 0;
	slot_of_pid[task->pid & (EYES_PIDS_MAX - 1)] = 0;
	vm = vm_at(thread->vm);
	now = bpf_ktime_get_ns() + clock_pair.rq_minus_monotonic;
	thread->seq++;
	barrier();
	if (thread->state == EYES_RUNNING && (__s64)(now - thread->since) > 0)
		thread->run_ns += now - thread->since;
	/* It runs, so whether all the others do is as it was. */
	if (thread->class_ == EYES_VCPU &&
	    __sync_fetch_and_add(&vm->vcpus, -1) == 1)
		__sync_fetch_and_add(&vm->all_runnable_ns, now);
	thread->since = now;
	thread->state = EYES_DEAD;
	barrier();
	thread->seq++;
	__sync_fetch_and_add(&generation, 1);
	if (__sync_fetch_and_add(&vm->threads, -1) == 1) {
		__u32 tgid = vm->tgid;

		bpf_map_delete_elem(&told, &tgid);
		tell(EYES_EVENT_VM_GONE, thread->vm, tgid_tid(task), 0);
	}
	return 0;
}

/*
 * A thread got a name. QEMU's threads name themselves; a kernel thread is named
 * by who made it, which is how vhost's are found before 6.4.
 */
SEC("tp_btf/task_rename")
int BPF_PROG(on_rename, struct task_struct *task)
{
	struct task_struct *current = bpf_get_current_task_btf();
	__u32 slot = slot_of(current->pid);

	if (!slot)
		return 0;
	if (task->flags & PF_KTHREAD)
		tell(EYES_EVENT_KTHREAD, thread_at(slot)->vm, tgid_tid(task),
		     0);
	else
		tell(EYES_EVENT_RENAMED, thread_at(slot)->vm, tgid_tid(task),
		     0);
	return 0;
}

SEC("tp_btf/cgroup_attach_task")
int BPF_PROG(on_move, void *cgroup, const char *path, struct task_struct *task)
{
	__u32 slot = slot_of(task->pid);

	if (slot)
		tell(EYES_EVENT_MOVED, thread_at(slot)->vm, tgid_tid(task), 0);
	return 0;
}

/* A process entered a guest and is no VM of ours: say so once. */
static __noinline int tell_new_vm(struct task_struct *task)
{
	__u32 tgid = task->tgid;
	__u64 started = task->group_leader->start_boottime;
	__u64 *seen = bpf_map_lookup_elem(&told, &tgid);

	if (seen && *seen == started)
		return 0;
	if (tell(EYES_EVENT_NEW_VM, 0, tgid_tid(task), 0))
		bpf_map_update_elem(&told, &tgid, &started, BPF_ANY);
	return 0;
}

/* The thread has entered a guest, so it is a vCPU, whatever its name. */
static __noinline int become_vcpu(struct task_struct *task,
				  struct kvm_vcpu *kvm_vcpu, __u32 slot)
{
	struct eyes_thread *thread = thread_at(slot);
	struct eyes_vm *vm = vm_at(thread->vm);
	__u64 now = bpf_ktime_get_ns() + clock_pair.rq_minus_monotonic;

	if (thread->class_ == EYES_AGENT || !kvm_vcpu)
		return 0;
	vcpu_at(slot)->vcpu_id = kvm_vcpu->vcpu_id;
	thread->seq++;
	barrier();
	thread->class_ = EYES_VCPU;
	if (thread->state == EYES_UNKNOWN) {
		thread->run_ns = task->se.sum_exec_runtime;
		begin_busy(thread);
		thread->since = now;
		thread->state = EYES_RUNNING;
	}
	barrier();
	thread->seq++;
	/* It runs: all of n were runnable before if and only if all of n + 1. */
	if (!__sync_fetch_and_add(&vm->vcpus, 1))
		__sync_fetch_and_add(&vm->all_runnable_ns, -now);
	__sync_fetch_and_add(&generation, 1);
	return 0;
}

static __noinline int read_halt_poll(struct kvm_vcpu *kvm_vcpu, __u32 slot)
{
	__u64 success = 0, failed = 0;

	if (!kvm_vcpu)
		return 0;
	bpf_core_read(&success, sizeof(success),
		      &kvm_vcpu->stat.generic.halt_poll_success_ns);
	bpf_core_read(&failed, sizeof(failed),
		      &kvm_vcpu->stat.generic.halt_poll_fail_ns);
	vcpu_at(slot)->halt_poll_ns = success + failed;
	return 0;
}

SEC("tp_btf/kvm_entry")
int BPF_PROG(on_kvm_entry, struct kvm_vcpu *kvm_vcpu)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u32 slot = slot_of(task->pid);
	struct eyes_vcpu *vcpu = vcpu_at(slot);

	if (!slot)
		return tell_new_vm(task);
	if (thread_at(slot)->class_ != EYES_VCPU)
		become_vcpu(task, kvm_vcpu, slot);
	if (vcpu->halted) {
		vcpu->halted = 0;
		read_halt_poll(kvm_vcpu, slot);
	}
	if (guest_time_on)
		vcpu->entered_ns = bpf_ktime_get_ns();
	return 0;
}

static __always_inline int count_exit(__u32 class_)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u32 slot = slot_of(task->pid);
	struct eyes_vcpu *vcpu = vcpu_at(slot);

	if (!slot)
		return 0;
	vcpu->exits[class_ < EYES_EXIT_OTHER ? class_ : EYES_EXIT_OTHER]++;
	vcpu->last_class = class_ + 1;
	if (class_ == EYES_EXIT_HALT)
		vcpu->halted = 1;
	if (guest_time_on && vcpu->entered_ns)
		vcpu->guest_ns += bpf_ktime_get_ns() - vcpu->entered_ns;
	/* A vCPU that never switches meets its quota here and nowhere else. */
	if (edges_on)
		check_quota(thread_at(slot), task);
	return 0;
}

/* Of these three one is loaded: by the vendor's own reason, or without it. */
SEC("tp_btf/kvm_exit")
int BPF_PROG(on_kvm_exit, struct kvm_vcpu *kvm_vcpu)
{
	return count_exit(EYES_EXIT_OTHER);
}

static __always_inline __u32 class_of_svm(__u32 code)
{
	switch (code) { /* AMD64 Architecture Programmer's Manual 2, appendix C */
	case 0x60: /* physical interrupt */
	case 0x61: /* NMI */
	case 0x64: /* interrupt window */
		return EYES_EXIT_INTERRUPT;
	case 0x78:
		return EYES_EXIT_HALT;
	case 0x7b:
		return EYES_EXIT_IO;
	case 0x7c:
		return EYES_EXIT_MSR;
	case 0x400:
		return EYES_EXIT_PAGE_FAULT;
	default:
		return EYES_EXIT_OTHER;
	}
}

SEC("tp_btf/kvm_exit")
int BPF_PROG(on_kvm_exit_amd, struct kvm_vcpu *kvm_vcpu)
{
	struct vcpu_svm *svm = (struct vcpu_svm *)kvm_vcpu;

	if (!kvm_vcpu)
		return 0;
	return count_exit(
		class_of_svm(BPF_CORE_READ(svm, vmcb, control.exit_code)));
}

static __always_inline __u32 class_of_vmx(__u32 reason)
{
	switch (reason & 0xffff) { /* Intel SDM 3C, appendix C */
	case 1:	 /* external interrupt */
	case 7:	 /* interrupt window */
	case 8:	 /* NMI window */
	case 52: /* preemption timer */
		return EYES_EXIT_INTERRUPT;
	case 12:
		return EYES_EXIT_HALT;
	case 30:
		return EYES_EXIT_IO;
	case 31:
	case 32:
		return EYES_EXIT_MSR;
	case 48: /* EPT violation */
		return EYES_EXIT_PAGE_FAULT;
	case 49: /* EPT misconfiguration: how KVM marks MMIO */
		return EYES_EXIT_MMIO;
	default:
		return EYES_EXIT_OTHER;
	}
}

SEC("tp_btf/kvm_exit")
int BPF_PROG(on_kvm_exit_intel, struct kvm_vcpu *kvm_vcpu)
{
	struct vcpu_vmx *vmx = (struct vcpu_vmx *)kvm_vcpu;
	struct vcpu_vmx___vt *vmx_vt = (struct vcpu_vmx___vt *)kvm_vcpu;
	__u32 reason = 0;

	if (!kvm_vcpu)
		return 0;
	if (bpf_core_field_exists(vmx->exit_reason))
		bpf_core_read(&reason, sizeof(reason), &vmx->exit_reason);
	else
		bpf_core_read(&reason, sizeof(reason), &vmx_vt->vt.exit_reason);
	return count_exit(class_of_vmx(reason));
}

/* The last exit was one of `from`; what KVM does now shows that it is `to`. */
static __always_inline int refine(__u32 from, __u32 to)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u32 slot = slot_of(task->pid);
	struct eyes_vcpu *vcpu = vcpu_at(slot);

	if (!slot)
		return 0;
	if (to == EYES_EXIT_HALT)
		vcpu->halted = 1;
	if (vcpu->last_class != from + 1)
		return 0;
	vcpu->last_class = 0;
	vcpu->exits[from]--;
	vcpu->exits[to]++;
	return 0;
}

/* AMD reports MMIO as a nested page fault. */
SEC("tp_btf/kvm_mmio")
int BPF_PROG(on_kvm_mmio_amd)
{
	return refine(EYES_EXIT_PAGE_FAULT, EYES_EXIT_MMIO);
}

/* Without the vendor's reason, these say what an exit was for. */
SEC("tp_btf/kvm_mmio")
int BPF_PROG(on_kvm_mmio)
{
	return refine(EYES_EXIT_OTHER, EYES_EXIT_MMIO);
}

SEC("tp_btf/kvm_pio")
int BPF_PROG(on_kvm_pio)
{
	return refine(EYES_EXIT_OTHER, EYES_EXIT_IO);
}

SEC("tp_btf/kvm_msr")
int BPF_PROG(on_kvm_msr)
{
	return refine(EYES_EXIT_OTHER, EYES_EXIT_MSR);
}

SEC("tp_btf/kvm_page_fault")
int BPF_PROG(on_kvm_page_fault)
{
	return refine(EYES_EXIT_OTHER, EYES_EXIT_PAGE_FAULT);
}

SEC("tp_btf/kvm_vcpu_wakeup")
int BPF_PROG(on_kvm_vcpu_wakeup)
{
	return refine(EYES_EXIT_OTHER, EYES_EXIT_HALT);
}

/* Dual licence, as declared above; the kernel asks for this word. */
char LICENSE[] SEC("license") = "Dual BSD/GPL";
