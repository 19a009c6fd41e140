// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The yardstick: programs that do nothing, on the same tracepoints. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("tp_btf/sched_switch")
int empty_switch(void *ctx)
{
	return 0;
}

SEC("tp_btf/sched_wakeup")
int empty_wakeup(void *ctx)
{
	return 0;
}

SEC("tp_btf/kvm_entry")
int empty_kvm_entry(void *ctx)
{
	return 0;
}

SEC("tp_btf/kvm_exit")
int empty_kvm_exit(void *ctx)
{
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
