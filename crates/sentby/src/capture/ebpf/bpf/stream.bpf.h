/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What is sent over TCP and UDP: which of it begins a request, and how much of what
 * follows belongs to it. A few bytes decide, by tables that user space compiled from
 * what the protocols declare (wire/src/start.rs). They may let too much through; the
 * decoders decide.
 */
#ifndef SENTBY_STREAM_H
#define SENTBY_STREAM_H

#include "packet.bpf.h"

#define TCP_SYN		2
#define TCP_ACK		16
#define UDP_HEADER	8
#define TCP_HEADER	20
#define LOOK		32	/* bytes looked at to tell whether a request begins */

const volatile struct sentby_starts stream_starts = {};
const volatile struct sentby_starts datagram_starts = {};

/* How far a socket's data is known. */
struct stream {
	u32 expect;	/* sequence number of what comes next; what is before was seen */
	u32 remaining;	/* bytes of the present request still to be captured */
	u32 state;	/* of the table: a beginning that is not told yet */
	u32 rule;	/* of the present request */
};

/*
 * Kept at the socket itself (Linux 5.2, 6ac99e8f23d4): found without a hash, gone with
 * the socket, and limited by what a socket may have of such memory (net.core.optmem_max).
 */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct stream);
} streams SEC(".maps");

/* What of a packet is wanted. */
struct wanted {
	u32 bytes;	/* from the IP header on; 0: only its sender */
	u32 flags;	/* enum sentby_flag */
};

/* As one number, which is all that a global function returns; 0: nothing. */
#define WANTED(w)	((u64)(w).flags << 32 | 1ULL << 31 | (w).bytes)
#define WANTED_BYTES(n)	((u32)(n) & ~(1U << 31))
#define WANTED_FLAGS(n)	((u32)((n) >> 32))

static __always_inline bool accepts(const volatile struct sentby_starts *starts, u32 state)
{
	return state && state <= starts->count;
}

/*
 * Follows the table from `state` through the n bytes at an offset, LOOK at the most.
 * A global function, as is all that looks at payload: the verifier walks it once, not
 * on every way that leads there.
 */
__noinline u32 follow(struct __sk_buff *ctx, u32 datagram, u32 state, u32 offset, u32 n)
{
	const volatile struct sentby_starts *starts = &stream_starts;
	BUFFER(look, LOOK);
	u64 size = n;
	u32 i;

	if (datagram)
		starts = &datagram_starts;
	CLAMP_MIN1(size);
	CLAMP_MAX(size, LOOK);
	if (bpf_skb_load_bytes(ctx, offset, look, size))
		return 0;
	for (i = 0; i < LOOK; i++) {
		if (i >= size)
			return state;
		state = starts->next[state & (SENTBY_STATES - 1)]
				    [starts->class_of[look[i]] & (SENTBY_CLASSES - 1)];
		if (state <= starts->count)
			return state;
	}
	/* No method is that long; what is encoded as text often begins so. */
	return n > LOOK ? 0 : state;
}

/* The rule of an accepting state; that of state 0 is empty. */
static __always_inline const volatile struct sentby_rule *rule_of(u64 state)
{
	MASK(state, SENTBY_RULES - 1);
	return &stream_starts.rule[state];
}

/* How long the request that begins at an offset is, if its start tells. */
static __always_inline u32 whole(struct __sk_buff *ctx, u32 offset, u32 rule)
{
	const volatile struct sentby_rule *r = rule_of(rule);
	u32 number = 0, size = r->size, total;

	if (!size || bpf_skb_load_bytes(ctx, offset + r->at, &number, sizeof(number)))
		return SENTBY_REQUEST_MAX;
	total = (bpf_ntohl(number) >> (32 - 8 * (size & 3))) + r->add;
	return total < SENTBY_REQUEST_MAX ? total : SENTBY_REQUEST_MAX;
}

static __always_inline bool is_until(struct __sk_buff *ctx, u32 end, u32 rule)
{
	u32 last = 0, until = rule_of(rule)->until;

	if (!until || bpf_skb_load_bytes(ctx, end - sizeof(last), &last, sizeof(last)))
		return false;
	return last == until;
}

static __always_inline struct stream *stream_of(struct __sk_buff *ctx, u32 seq)
{
	struct bpf_sock *sk = ctx->sk;
	struct stream fresh = { .expect = seq };

	sk = sk ? bpf_sk_fullsock(sk) : NULL;
	return sk ? bpf_sk_storage_get(&streams, sk, &fresh, BPF_SK_STORAGE_GET_F_CREATE) : NULL;
}

/* New bytes of a stream: n of them at an offset of the packet. */
static __always_inline bool stream_goes_on(struct __sk_buff *ctx, struct stream *s, u32 offset,
					   u32 n, struct wanted *w)
{
	u32 own = follow(ctx, 0, stream_starts.start, offset, n);
	u32 state = s->state ? follow(ctx, 0, s->state, offset, n) : own, want;

	/* What went before may have been the end of something else. */
	if (!state || accepts(&stream_starts, own))
		state = own;
	s->state = state > stream_starts.count ? state : 0;
	if (accepts(&stream_starts, state)) {
		s->rule = state;
		s->remaining = state == own ? whole(ctx, offset, state) : SENTBY_REQUEST_MAX;
	} else if (!s->state && !s->remaining) {
		return false;
	}
	want = s->state && !s->remaining ? n : s->remaining;
	if (want > n)
		want = n;
	s->remaining -= s->remaining < want ? s->remaining : want;
	if (s->remaining && is_until(ctx, offset + n, s->rule))
		s->remaining = 0;
	/* Others may stand behind it: glibc sends two queries at once, and so do resolvers. */
	if (want < n && accepts(&stream_starts, own))
		want = n < SENTBY_REQUEST_MAX ? n : SENTBY_REQUEST_MAX;
	if (!want)
		return false;
	w->bytes = offset + want;
	w->flags |= own ? SENTBY_PAYLOAD | SENTBY_BEGINS : SENTBY_PAYLOAD;
	return true;
}

/* Data in a segment: each byte once, whatever is retransmitted. */
static __always_inline bool data_wanted(struct __sk_buff *ctx, u32 seq, u32 at, u32 end,
					struct wanted *w)
{
	struct stream *s = stream_of(ctx, seq);
	u32 n = end - at;
	s32 ahead;

	if (!s)
		return false;
	ahead = seq - s->expect;
	if (ahead > 0) {
		s->remaining = 0;
		s->state = 0;
	} else if (ahead < 0) {
		if ((u32)-ahead >= n)
			return false;
		at -= ahead;
		n += ahead;
	}
	s->expect = seq + (end - at) + (ahead < 0 ? -ahead : 0);
	return stream_goes_on(ctx, s, at, n, w);
}

/*
 * TCP: what is wanted of a packet whose transport header stands at an offset, and that
 * ends at another. Of a SYN at least the sender, who may not be there when data is
 * sent. Returns WANTED_*.
 */
__noinline u64 segment_wanted(struct __sk_buff *ctx, u32 transport, u32 end)
{
	u8 h[TCP_HEADER] __attribute__((aligned(4)));
	struct wanted w = {};
	bool opens;
	u32 at, seq;

	if (bpf_skb_load_bytes(ctx, transport, h, sizeof(h)))
		return 0;
	at = transport + (h[12] >> 4) * 4;
	opens = (h[13] & (TCP_SYN | TCP_ACK)) == TCP_SYN;
	if (opens && plan.openings) {
		w.flags = SENTBY_OPENS;
		w.bytes = at < end ? at : end;
	}
	/* Data in a SYN (TCP Fast Open, RFC 7413) comes after its own number. */
	seq = bpf_ntohl(*(u32 *)(h + 4)) + !!(h[13] & TCP_SYN);
	if (at < end && plan.streams && !data_wanted(ctx, seq, at, end, &w) && !opens)
		return 0;
	if (at < end && !plan.streams && !opens)
		return 0;
	if (at >= end && !opens)
		return 0;
	return WANTED(w);
}

__noinline u64 datagram_wanted(struct __sk_buff *ctx, u32 transport, u32 end)
{
	u32 at = transport + UDP_HEADER;
	struct wanted w = { .bytes = end, .flags = SENTBY_PAYLOAD };

	if (at >= end || !accepts(&datagram_starts,
				  follow(ctx, 1, datagram_starts.start, at, end - at)))
		return 0;
	return WANTED(w);
}

#endif
