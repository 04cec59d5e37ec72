/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The maps, the counters, and the way out: reserve a record, submit it. */
#ifndef SENTBY_MAPS_H
#define SENTBY_MAPS_H

#include "compat.h"
#include "record.h"

const volatile struct sentby_plan plan = {};

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
#define COUNT(count, field)					\
	do {							\
		if (count)					\
			__sync_fetch_and_add(&(count)->field, 1); \
	} while (0)

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

static __always_inline void record_submit(void *ctx, void *record, u32 size)
{
	struct scratch *scratch;
	u64 flags = BPF_RB_NO_WAKEUP;
	u32 zero = 0;

	if (plan.ring) {
		/* A wake-up costs more than the record: batch them, user space polls. */
		if (bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA) >= plan.wakeup_bytes)
			flags = BPF_RB_FORCE_WAKEUP;
		bpf_ringbuf_submit(record, flags);
		return;
	}
	bpf_perf_event_output(ctx, &perf, BPF_F_CURRENT_CPU, record, size);
	scratch = bpf_map_lookup_elem(&scratches, &zero);
	if (scratch && scratch->depth)
		scratch->depth--;
}

#endif
