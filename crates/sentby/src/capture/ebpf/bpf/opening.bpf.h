/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * TCP connections that are being opened: from the SYN, which the hook that sees
 * packets reports, to what becomes of the socket.
 */
#ifndef SENTBY_OPENING_H
#define SENTBY_OPENING_H

#include "maps.bpf.h"

#define OPENINGS_MAX	16384

/* By the address of the socket: its inode. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, OPENINGS_MAX);
	__type(key, u64);
	__type(value, u64);
} openings SEC(".maps");

static __always_inline void opening_remember(struct sock *sk, u64 inode)
{
	u64 key = (u64)sk;

	if (sk && inode)
		bpf_map_update_elem(&openings, &key, &inode, BPF_ANY);
}

/*
 * From SYN_SENT to anything but SYN_RECV, where both sides opened at once (RFC 9293
 * section 3.5). The error is set before the state is: tcp_reset(), tcp_write_err(),
 * tcp_v4_err(); a process that closes the socket leaves none.
 */
static __always_inline void opening_ends(void *ctx, struct sock *sk, u32 from, u32 to)
{
	u64 key = (u64)sk, *inode;
	struct sentby_outcome *r;

	if ((from != TCP_SYN_SENT && from != TCP_SYN_RECV) || to == TCP_SYN_RECV)
		return;
	inode = bpf_map_lookup_elem(&openings, &key);
	if (!inode)
		return;
	r = record_reserve(sizeof(*r));
	if (r) {
		r->kind = SENTBY_KIND_OUTCOME;
		r->state = to;
		r->error = READ(sk, sk_err);
		r->pad = 0;
		r->time = bpf_ktime_get_ns();
		r->inode = *inode;
		record_submit(r, sizeof(*r));
		scratch_send(ctx, sizeof(*r));
	} else {
		COUNT(count_of(0), outcome_lost);
	}
	bpf_map_delete_elem(&openings, &key);
}

#endif
