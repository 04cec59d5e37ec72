/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The maps, the counters, and the way out: reserve a record, submit it. */
#ifndef SENTBY_MAPS_H
#define SENTBY_MAPS_H

#include "direct.bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SENTBY_HOOKS);
	__type(key, u32);
	__type(value, struct sentby_count);
} counts SEC(".maps");

/* Sized by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ring SEC(".maps");

/* Kernels before 5.8 have no ring buffer (457f44363a88). */
struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(u32));
	__uint(value_size, sizeof(u32));
} perf SEC(".maps");

/*
 * Room to build a record in where there is no ring buffer. Such kernels run
 * programs with preemption off, but a softirq may interrupt one: slots are taken
 * and given back in order.
 */
#define SCRATCH_SLOTS	3

struct scratch_slot {
	char bytes[sizeof(struct sentby_process) + SENTBY_ARGV_LARGE];
};

struct scratch {
	u64 depth;
	struct scratch_slot slot[SCRATCH_SLOTS];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct scratch);
} scratches SEC(".maps");

static __always_inline struct sentby_count *count_of(u32 hook)
{
	return bpf_map_lookup_elem(&counts, &hook);
}

/* Atomic: a preempted task and the one that took its CPU share the slot. */
#define COUNT(count, field)						\
	do {								\
		struct sentby_count *slot__ = (count);			\
									\
		if (slot__)						\
			__sync_fetch_and_add(&slot__->field, 1);	\
	} while (0)

/* Room for a record: in the ring, or in a scratch slot. */
static __always_inline void *record_reserve(u32 size)
{
	struct scratch *scratch;
	u32 zero = 0;
	u64 depth;

	if (plan.ring)
		return bpf_ringbuf_reserve(&ring, size, 0);
	scratch = bpf_map_lookup_elem(&scratches, &zero);
	if (!scratch)
		return NULL;
	depth = scratch->depth;
	if (depth >= SCRATCH_SLOTS)
		return NULL;
	scratch->depth = depth + 1;
	return scratch->slot[depth].bytes;
}

/* Ends what record_reserve() began; a scratch slot still has to be sent. */
static __always_inline void record_submit(void *record, u32 size)
{
	u64 flags = BPF_RB_NO_WAKEUP;

	if (!plan.ring)
		return;
	/*
	 * A wake-up is an interrupt, and under a hypervisor an exit: it costs more than
	 * all the rest. One for each wakeup_bytes that are queued, not one for each record
	 * until the reader has its turn. A step that two CPUs take at once may be missed;
	 * user space polls.
	 */
	if ((bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA) & (plan.wakeup_bytes - 1)) < size)
		flags = BPF_RB_FORCE_WAKEUP;
	bpf_ringbuf_submit(record, flags);
}

/* Sends the scratch slot that was reserved last and gives it back. */
static __always_inline void scratch_send(void *ctx, u32 size)
{
	struct scratch *scratch;
	u32 zero = 0;
	u64 depth;

	if (plan.ring)
		return;
	scratch = bpf_map_lookup_elem(&scratches, &zero);
	if (!scratch || !scratch->depth || scratch->depth > SCRATCH_SLOTS)
		return;
	depth = scratch->depth - 1;
	CLAMP_MAX(depth, SCRATCH_SLOTS - 1);
	bpf_perf_event_output(ctx, &perf, BPF_F_CURRENT_CPU, scratch->slot[depth].bytes, size);
	scratch->depth--;
}

#endif
