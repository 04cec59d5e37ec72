/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reading the kernel's structures: by plain loads where the kernel has
 * bpf_rdonly_cast() (6.2, a35b9af4ec2c), else through a helper that costs some 25 ns
 * each time. Not with __ksym, which would make libbpf insist on the kernel's own BTF;
 * and not in functions of their own (__noinline), which are not patched.
 */
#ifndef SENTBY_DIRECT_H
#define SENTBY_DIRECT_H

#include "compat.h"
#include "record.h"

const volatile struct sentby_plan plan = {};

/* Functions of the kernel by a number that user space replaces by their BTF ids. */
static void *(*const rdonly_cast)(const void *, u32) = (void *)SENTBY_RDONLY_CAST;
static void *(*const kern_ctx)(void *) = (void *)SENTBY_KERN_CTX;

/* The sk_buff behind the ctx of a program that sees packets as __sk_buff. */
static __always_inline struct sk_buff *skb_of(struct __sk_buff *ctx)
{
	return plan.direct ? kern_ctx(ctx) : (void *)launder(ctx);
}

/* READ(p, a) is p->a, READ(p, a, b) is p->a->b. */
#define AS_TYPED(p) ((typeof(p))rdonly_cast((p), bpf_core_type_id_kernel(typeof(*(p)))))
#define READ_1(p, a)							\
	({								\
		typeof(p) p__ = (p);					\
									\
		plan.direct ? AS_TYPED(p__)->a : BPF_CORE_READ(p__, a);	\
	})
#define READ_2(p, a, b) READ_1(READ_1(p, a), b)
#define READ_CHOOSE(_1, _2, _3, n, ...) n
#define READ(...) READ_CHOOSE(__VA_ARGS__, READ_2, READ_1)(__VA_ARGS__)
#define READ_BIT(p, a)							\
	(plan.direct ? BPF_CORE_READ_BITFIELD(AS_TYPED(p), a) : BPF_CORE_READ_BITFIELD_PROBED(p, a))

/* A name of 16 bytes (a comm, an interface's) to where 8-byte words may stand. */
#define READ_NAME(to, p, a)						\
	do {								\
		typeof(p) p__ = (p);					\
		u64 *to__ = (void *)(to);				\
									\
		if (plan.direct) {					\
			to__[0] = *(u64 *)&AS_TYPED(p__)->a[0];		\
			to__[1] = *(u64 *)&AS_TYPED(p__)->a[8];		\
		} else {						\
			bpf_core_read(to__, 16, &p__->a);		\
		}							\
	} while (0)

/* A word at an address that no type tells. */
static __always_inline int read_u32(u32 *to, u64 address)
{
	struct upid *typed = (void *)address;	/* begins with an int */

	if (!plan.direct)
		return bpf_probe_read_kernel(to, sizeof(*to), (void *)address);
	*to = AS_TYPED(typed)->nr;
	return 0;
}

#endif
