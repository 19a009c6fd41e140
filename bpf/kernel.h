/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The kernel's structures, as far as they are read: only these fields, found at
 * load time in the running kernel's BTF, whatever their place there.
 */
#ifndef OUTRIDER_KERNEL_H
#define OUTRIDER_KERNEL_H

#include <linux/bpf.h>
#include <stdbool.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), \
			     apply_to = record)

struct rq {
	__u64 clock;
	int cpu;
};

struct cfs_bandwidth {
	__u64 quota;
	__u64 runtime;
};

struct task_group {
	struct cfs_bandwidth cfs_bandwidth;
};

struct cfs_rq {
	struct rq *rq;
	struct task_group *tg;
	int runtime_enabled;
	__s64 runtime_remaining;
};

struct sched_entity {
	__u64 sum_exec_runtime;
	__u64 prev_sum_exec_runtime;
	struct sched_entity *parent;
	struct cfs_rq *cfs_rq;
};

struct task_struct {
	unsigned int flags;
	int pid;
	int tgid;
	__u64 start_boottime;
	struct sched_entity se;
	struct task_struct *group_leader;
};

struct kernfs_node {
	__u64 id;
};

struct cgroup {
	struct kernfs_node *kn;
};

struct cgroup_subsys_state {
	struct cgroup *cgroup;
};

struct mem_cgroup {
	struct cgroup_subsys_state css;
};

struct kvm_vcpu_stat_generic {
	__u64 halt_poll_success_ns;
	__u64 halt_poll_fail_ns;
};

struct kvm_vcpu_stat {
	struct kvm_vcpu_stat_generic generic;
};

struct kvm_vcpu {
	int vcpu_id;
	struct kvm_vcpu_stat stat;
};

/* AMD: in the BTF of kvm_amd. */
struct vmcb_control_area {
	__u32 exit_code;
};

struct vmcb {
	struct vmcb_control_area control;
};

struct vcpu_svm {
	struct vmcb *vmcb;
};

/* Intel: in the BTF of kvm_intel. Not tested on a processor of theirs. */
struct vcpu_vmx {
	__u32 exit_reason;
};

/* Since Linux 6.15 ("KVM: VMX: Move common fields of struct vcpu_{vmx,tdx}"). */
struct vcpu_vt {
	__u32 exit_reason;
};

struct vcpu_vmx___vt {
	struct vcpu_vt vt;
};

#pragma clang attribute pop

#define PF_KTHREAD 0x00200000

#endif
