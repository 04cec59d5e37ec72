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
#include "sender.bpf.h"

#define IPPROTO_TCP	6
#define IPPROTO_UDP	17
#define TCP_SYN		2
#define TCP_ACK		16
#define UDP_HEADER	8
#define TCP_HEADER	20
#define LOOK		32	/* bytes looked at to tell whether a request begins */
#define STREAMS_MAX	65536

const volatile struct sentby_starts stream_starts = {};
const volatile struct sentby_starts datagram_starts = {};

/* How far a socket's data is known. */
struct stream {
	u64 inode;	/* tells a socket from a later one at the same address */
	u32 expect;	/* sequence number of what comes next; what is before was seen */
	u32 remaining;	/* bytes of the present request still to be captured */
	u32 state;	/* of the table: a beginning that is not told yet */
	u32 rule;	/* of the present request */
	u32 hash;	/* see is_of() */
	u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, STREAMS_MAX);
	__type(key, u64);
	__type(value, struct stream);
} streams SEC(".maps");

/* What of a packet is wanted. */
struct wanted {
	u32 bytes;	/* from the IP header on; 0: only its sender */
	u32 flags;	/* enum sentby_flag */
};

static __always_inline bool accepts(const volatile struct sentby_starts *starts, u32 state)
{
	return state && state <= starts->count;
}

/* Follows the table from `state` through the n bytes at an offset, LOOK at the most. */
static __always_inline u32 follow(const volatile struct sentby_starts *starts, u32 state,
				  const struct view *v, u32 offset, u32 n)
{
	u8 look[LOOK];
	u64 size = n;
	u32 i;

	CLAMP_MIN1(size);
	CLAMP_MAX(size, LOOK);
	if (bpf_skb_load_bytes(v->ctx, offset, look, size))
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
static __always_inline u32 whole(const struct view *v, u32 offset, u32 rule)
{
	const volatile struct sentby_rule *r = rule_of(rule);
	u32 number = 0, size = r->size, total;

	if (!size || bpf_skb_load_bytes(v->ctx, offset + r->at, &number, sizeof(number)))
		return SENTBY_REQUEST_MAX;
	total = (bpf_ntohl(number) >> (32 - 8 * (size & 3))) + r->add;
	return total < SENTBY_REQUEST_MAX ? total : SENTBY_REQUEST_MAX;
}

static __always_inline bool is_until(const struct view *v, u32 end, u32 rule)
{
	u32 last = 0, until = rule_of(rule)->until;

	if (!until || bpf_skb_load_bytes(v->ctx, end - sizeof(last), &last, sizeof(last)))
		return false;
	return last == until;
}

static __always_inline struct stream *stream_of(struct sock *sk, u64 inode, u32 seq)
{
	u64 key = (u64)sk;
	struct stream *known = bpf_map_lookup_elem(&streams, &key);
	struct stream fresh = {};

	if (known && is_of(known->inode, known->hash, sk, inode))
		return known;
	fresh.inode = inode;
	fresh.expect = seq;
	fresh.hash = READ(sk, __sk_common.skc_hash);
	if (bpf_map_update_elem(&streams, &key, &fresh, BPF_ANY))
		return NULL;
	return bpf_map_lookup_elem(&streams, &key);
}

/* New bytes of a stream: n of them at an offset of the packet. */
static __always_inline bool stream_goes_on(const struct view *v, struct stream *s, u32 offset,
					   u32 n, struct wanted *w)
{
	u32 own = follow(&stream_starts, stream_starts.start, v, offset, n);
	u32 state = s->state ? follow(&stream_starts, s->state, v, offset, n) : own, want;

	/* What went before may have been the end of something else. */
	if (!state || accepts(&stream_starts, own))
		state = own;
	if (own)
		w->flags = SENTBY_BEGINS;
	s->state = state > stream_starts.count ? state : 0;
	if (accepts(&stream_starts, state)) {
		s->rule = state;
		s->remaining = state == own ? whole(v, offset, state) : SENTBY_REQUEST_MAX;
	} else if (!s->state && !s->remaining) {
		return false;
	}
	want = s->state && !s->remaining ? n : s->remaining;
	if (want > n)
		want = n;
	s->remaining -= s->remaining < want ? s->remaining : want;
	if (s->remaining && is_until(v, offset + n, s->rule))
		s->remaining = 0;
	/* Others may stand behind it: glibc sends two queries at once, and so do resolvers. */
	if (want < n && accepts(&stream_starts, own))
		want = n < SENTBY_REQUEST_MAX ? n : SENTBY_REQUEST_MAX;
	w->bytes = offset + want;
	return w->bytes > offset;
}

/*
 * TCP: each byte once, whatever is retransmitted. `end` is where the packet ends.
 * A SYN is looked at for its sender, who may not be there when data is sent.
 */
static __always_inline bool segment_wanted(const struct view *v, const struct packet *p,
					   struct sock *sk, u64 inode, u32 end, struct wanted *w)
{
	u8 h[TCP_HEADER] __attribute__((aligned(4)));
	u32 at, n, seq;
	struct stream *s;
	s32 ahead;

	if (bpf_skb_load_bytes(v->ctx, p->transport, h, sizeof(h)))
		return false;
	at = p->transport + (h[12] >> 4) * 4;
	w->bytes = 0;
	w->flags = 0;
	if (at >= end)
		return (h[13] & (TCP_SYN | TCP_ACK)) == TCP_SYN;
	n = end - at;
	/* Data in a SYN (TCP Fast Open, RFC 7413) comes after its own number. */
	seq = bpf_ntohl(*(u32 *)(h + 4)) + !!(h[13] & TCP_SYN);
	s = stream_of(sk, inode, seq);
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
	return stream_goes_on(v, s, at, n, w);
}

static __always_inline bool datagram_wanted(const struct view *v, const struct packet *p, u32 end,
					    struct wanted *w)
{
	u32 at = p->transport + UDP_HEADER;

	if (at >= end ||
	    !accepts(&datagram_starts, follow(&datagram_starts, datagram_starts.start, v, at, end - at)))
		return false;
	w->bytes = end;
	w->flags = 0;
	return true;
}

#endif
