// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What memory does to a VM between two reads of its files: pages that it
 * touches first, and reclaim, of the host's memory by its own threads and of
 * its cgroup's by anybody.
 *
 * User space says which processes and cgroups are a VM's. Nothing here runs
 * but where a page is missing or memory is short.
 */
#include "kernel.h"
#include "memory_records.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

/* User space maps as much of it as it uses: reading costs no syscall. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, EYES_MEMORY_SLOTS_MAX);
	__type(key, __u32);
	__type(value, struct eyes_memory);
} figures SEC(".maps");

/* Both are filled by user space, which tells what does not fit. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, EYES_MEMORY_SLOTS_MAX);
	__type(key, __u32); /* tgid */
	__type(value, __u32);
} slot_of_tgid SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, EYES_MEMORY_CGROUPS_MAX);
	__type(key, __u64); /* cgroup id */
	__type(value, __u32);
} slot_of_cgroup SEC(".maps");

enum reclaim { DIRECT, MEMCG };

/* When a thread began: what does not fit is counted as untimed. */
struct began_key {
	__u32 tid;
	__u32 reclaim; /* enum reclaim */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, EYES_MEMORY_RECLAIMERS_MAX);
	__type(key, struct began_key);
	__type(value, __u64);
} began SEC(".maps");

static __always_inline __u32 slot_of_current(void)
{
	__u32 tgid = bpf_get_current_pid_tgid() >> 32;
	__u32 *slot = bpf_map_lookup_elem(&slot_of_tgid, &tgid);

	return slot ? *slot : 0;
}

/* 0 for a cgroup that is no VM's, an ancestor of some among them. */
static __always_inline __u32 slot_of_memcg(struct mem_cgroup *memcg)
{
	__u64 id = memcg->css.cgroup->kn->id;
	__u32 *slot = bpf_map_lookup_elem(&slot_of_cgroup, &id);

	return slot ? *slot : 0;
}

static __always_inline void begin(struct eyes_memory *memory,
				  enum reclaim reclaim)
{
	struct began_key key = { .tid = bpf_get_current_pid_tgid(),
				 .reclaim = reclaim };
	__u64 now = bpf_ktime_get_ns();

	if (bpf_map_update_elem(&began, &key, &now, BPF_ANY))
		__sync_fetch_and_add(&memory->untimed, 1);
}

/* How long it took; 0 when its beginning is not known. */
static __always_inline __u64 end(enum reclaim reclaim)
{
	struct began_key key = { .tid = bpf_get_current_pid_tgid(),
				 .reclaim = reclaim };
	__u64 *start = bpf_map_lookup_elem(&began, &key);
	__u64 took;

	if (!start)
		return 0;
	took = bpf_ktime_get_ns() - *start;
	bpf_map_delete_elem(&began, &key);
	return took;
}

/*
 * Bit 3 of the code tells a fault that is no first touch with either vendor:
 * AMD's of reserved bits, by which KVM marks MMIO, and Intel's of a page that
 * was readable and is written to.
 */
#define NO_FIRST_TOUCH 8

SEC("tp_btf/kvm_page_fault")
int BPF_PROG(on_first_touch, void *vcpu, __u64 address, __u64 code)
{
	__u32 slot;
	struct eyes_memory *memory;

	if (code & NO_FIRST_TOUCH)
		return 0;
	slot = slot_of_current();
	memory = bpf_map_lookup_elem(&figures, &slot);
	if (slot && memory)
		__sync_fetch_and_add(&memory->first_touches, 1);
	return 0;
}

SEC("tp_btf/mm_vmscan_direct_reclaim_begin")
int BPF_PROG(on_direct_reclaim)
{
	__u32 slot = slot_of_current();
	struct eyes_memory *memory = bpf_map_lookup_elem(&figures, &slot);

	if (!slot || !memory)
		return 0;
	__sync_fetch_and_add(&memory->direct_reclaims, 1);
	begin(memory, DIRECT);
	return 0;
}

SEC("tp_btf/mm_vmscan_direct_reclaim_end")
int BPF_PROG(on_direct_reclaim_end)
{
	__u32 slot = slot_of_current();
	struct eyes_memory *memory = bpf_map_lookup_elem(&figures, &slot);
	/* Also of a VM that was detached meanwhile, or it would stay there. */
	__u64 took = end(DIRECT);

	if (slot && memory)
		__sync_fetch_and_add(&memory->direct_reclaim_ns, took);
	return 0;
}

SEC("fentry/try_to_free_mem_cgroup_pages")
int BPF_PROG(on_memcg_reclaim, struct mem_cgroup *memcg)
{
	__u32 slot = slot_of_memcg(memcg);
	struct eyes_memory *memory = bpf_map_lookup_elem(&figures, &slot);

	if (!memory)
		return 0;
	__sync_fetch_and_add(&memory->memcg_reclaims, 1);
	begin(memory, MEMCG);
	return 0;
}

/* How many arguments stand before what it returns differs between kernels. */
SEC("fexit/try_to_free_mem_cgroup_pages")
int BPF_PROG(on_memcg_reclaim_end, struct mem_cgroup *memcg)
{
	__u32 slot = slot_of_memcg(memcg);
	struct eyes_memory *memory = bpf_map_lookup_elem(&figures, &slot);
	__u64 pages = 0;

	if (!memory)
		return 0;
	__sync_fetch_and_add(&memory->memcg_reclaim_ns, end(MEMCG));
	if (!bpf_get_func_ret(ctx, &pages))
		__sync_fetch_and_add(&memory->memcg_pages, pages);
	return 0;
}

/* Dual licence, as declared above; the kernel asks for this word. */
char LICENSE[] SEC("license") = "Dual BSD/GPL";
