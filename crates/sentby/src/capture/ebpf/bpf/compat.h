/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Every kernel quirk, with the version or commit that made it. A flavour is a name
 * with three underscores; CO-RE ignores what follows them.
 */
#ifndef SENTBY_COMPAT_H
#define SENTBY_COMPAT_H

#include "kernel.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

/* task_struct.real_start_time became start_boottime in 5.5 (cf25e24db61c). */
struct task_struct___v54 {
	u64 real_start_time;
};

struct task_struct___v55 {
	u64 start_boottime;
};

/* PREEMPT_RT keeps the softirq count in the task since 5.13 (728b478d2d35). */
struct task_struct___rt {
	int softirq_disable_cnt;
};

/* arm64 (and others) keep the preempt count in thread_info; x86 does not. */
struct thread_info___count {
	int preempt_count;
};

struct task_struct___count {
	struct thread_info___count thread_info;
};

/*
 * x86 kept the preempt count in pcpu_hot from 6.2 (64701838bf05) to 6.14; before
 * and after it is the per-CPU variable __preempt_count.
 */
struct pcpu_hot___x {
	int preempt_count;
};

/* cfs_rq.rq: CONFIG_FAIR_GROUP_SCHED only. */
struct rq___x {
	int cpu;
};

struct cfs_rq___x {
	struct rq___x *rq;
};

struct sched_entity___x {
	struct cfs_rq___x *cfs_rq;
};

struct task_struct___se {
	struct sched_entity___x se;
};

/* kernfs_node.parent became __parent in 6.15 (633488947ef6). */
struct kernfs_node___v614 {
	struct kernfs_node___v614 *parent;
};

struct kernfs_node___v615 {
	struct kernfs_node___v615 *__parent;
};

/* Since 5.6 (2303f994b3e1), with CONFIG_MPTCP. */
struct tcp_sock___mptcp {
	bool is_mptcp;
};

#pragma clang attribute pop

/* Worker threads of io_uring since 5.12 (46fe18b16c46): tasks of the user's process. */
#define PF_IO_WORKER	0x00000010

static __always_inline u64 task_start(struct task_struct *leader)
{
	struct task_struct___v55 *now = (void *)leader;
	struct task_struct___v54 *old = (void *)leader;

	if (bpf_core_field_exists(now->start_boottime))
		return BPF_CORE_READ(now, start_boottime);
	if (bpf_core_field_exists(old->real_start_time))
		return BPF_CORE_READ(old, real_start_time);
	return 0;
}

/*
 * The TCP sockets below a multipath socket (RFC 8684) are made by the kernel, for the
 * process that has that one.
 */
static __always_inline bool is_multipath(struct sock *sk)
{
	struct tcp_sock___mptcp *tcp = (void *)sk;

	return bpf_core_field_exists(tcp->is_mptcp) &&
	       BPF_CORE_READ_BITFIELD_PROBED(sk, sk_protocol) == 6 &&
	       BPF_CORE_READ_BITFIELD_PROBED(sk, sk_type) == SOCK_STREAM &&
	       BPF_CORE_READ(tcp, is_mptcp);
}

static __always_inline struct kernfs_node *kernfs_parent(struct kernfs_node *kn)
{
	struct kernfs_node___v615 *now = (void *)kn;
	struct kernfs_node___v614 *old = (void *)kn;

	if (bpf_core_field_exists(now->__parent))
		return (void *)BPF_CORE_READ(now, __parent);
	return (void *)BPF_CORE_READ(old, parent);
}

/*
 * clang drops bounds it can prove and the verifier cannot: clamp where the
 * optimiser does not look. A mask also mends ranges that verifiers before 6.8 have
 * empty on ways that cannot be gone, and then forget. Verifiers before 6.2 want a size that is provably
 * at least 1 as well.
 */
#define CLAMP_MAX(v, max) \
	asm volatile("if %0 <= %1 goto +1\n\t%0 = %1" : "+r"(v) : "i"(max))
#define MASK(v, mask) asm volatile("%0 &= %1" : "+r"(v) : "i"(mask))
#define CLAMP_MIN1(v) \
	asm volatile("if %0 >= 1 goto +1\n\t%0 = 1" : "+r"(v))

/*
 * Memory that a helper writes a varying number of bytes to. Verifiers before 6.3
 * (6715df8d5d24) want all of it to hold something already.
 */
#define BUFFER(name, n)	u8 name[n] = {}

/*
 * Pointers that the verifier types (BTF pointers, ctx) reject arithmetic and
 * casts; read back from memory they are plain numbers.
 */
static __always_inline u64 launder(void *typed)
{
	u64 plain = 0;

	bpf_probe_read_kernel(&plain, sizeof(plain), &typed);
	return plain;
}

#endif
