// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The yardstick: a call through a ring of the same kind, with no decision. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} pings SEC(".maps");

SEC("raw_tp")
int ping(void *ctx)
{
	__u64 *at = bpf_ringbuf_reserve(&pings, sizeof(*at), 0);

	if (!at)
		return 1;
	*at = bpf_ktime_get_ns();
	bpf_ringbuf_submit(at, BPF_RB_FORCE_WAKEUP);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
