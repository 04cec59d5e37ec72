/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Is `current` the sender? Only in task context; in softirq it is whoever was
 * interrupted. No one signal of that exists on every kernel, so user space
 * chooses the best this kernel has (enum sentby_signal). The only file that
 * knows about architectures.
 */
#ifndef SENTBY_CONTEXT_H
#define SENTBY_CONTEXT_H

#include "maps.bpf.h"

/* include/linux/preempt.h: serving a softirq; in hardirq or NMI. */
#define SERVING_SOFTIRQ	0x00000100
#define IN_INTERRUPT	(SERVING_SOFTIRQ | 0x00ff0000)

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u32);
} softirq SEC(".maps");

static __always_inline void softirq_set(u32 serving)
{
	u32 zero = 0, *flag = bpf_map_lookup_elem(&softirq, &zero);

	if (flag)
		*flag = serving;
}

/* x86: a per-CPU variable; its address on this CPU is base + __per_cpu_offset[cpu]. */
static __always_inline u32 count_by_address(void)
{
	u64 address = plan.preempt_count, offset = 0;
	u32 count = 0;

	if (bpf_core_type_exists(struct pcpu_hot___x))
		address += bpf_core_field_offset(struct pcpu_hot___x, preempt_count);
	bpf_probe_read_kernel(&offset, sizeof(offset),
			      (void *)(plan.per_cpu_offset + 8 * (u64)bpf_get_smp_processor_id()));
	read_u32(&count, address + offset);
	return count;
}

/* x86 without kallsyms: this CPU's runqueue is known through the running task. */
static __always_inline u32 count_by_runqueue(struct task_struct *task)
{
	struct task_struct___se *se = (void *)task;
	s64 distance = plan.runqueue_distance;
	u32 count = 0;
	u64 rq;

	if (bpf_core_type_exists(struct pcpu_hot___x))
		distance += bpf_core_field_offset(struct pcpu_hot___x, preempt_count);
	rq = (u64)READ(se, se.cfs_rq, rq);
	/* Unreadable: claim an interrupt, so that nobody is blamed. */
	if (!rq || read_u32(&count, rq + distance))
		return SERVING_SOFTIRQ;
	return count;
}

static __always_inline u32 count_by_task(struct task_struct *task)
{
	struct task_struct___rt *rt = (void *)task;
	struct task_struct___count *own = (void *)task;

	if (bpf_core_field_exists(rt->softirq_disable_cnt))
		return READ(rt, softirq_disable_cnt);
	if (bpf_core_field_exists(own->thread_info.preempt_count))
		return READ(own, thread_info.preempt_count);
	return SERVING_SOFTIRQ;
}

static __always_inline u32 count_by_flag(void)
{
	u32 zero = 0, *flag = bpf_map_lookup_elem(&softirq, &zero);

	return flag && *flag ? SERVING_SOFTIRQ : 0;
}

static __always_inline bool in_task(struct task_struct *task)
{
	u32 count;

	if (plan.signal == SENTBY_SIGNAL_TASK)
		count = count_by_task(task);
	else if (plan.signal == SENTBY_SIGNAL_PREEMPT_COUNT)
		count = count_by_address();
	else if (plan.signal == SENTBY_SIGNAL_RUNQUEUE)
		count = count_by_runqueue(task);
	else
		count = count_by_flag();
	return !(count & IN_INTERRUPT) && !(READ(task, flags) & PF_KTHREAD);
}

#endif
