/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* IP headers, as far as the choice of protocols needs them. */
#ifndef SENTBY_PACKET_H
#define SENTBY_PACKET_H

#include "maps.bpf.h"

#define EXTENSIONS_MAX	8	/* IPv6 extension headers looked through */
#define TAGS_MAX	2	/* VLAN tags looked through */
#define IPPROTO_TCP	6
#define IPPROTO_UDP	17
#define HEADER4		20	/* bytes of an IPv4 header without options */
#define HEADER6		40

/* RFC 8200: the extension headers that stand before the upper layer. */
#define IS_EXTENSION(n)	((n) == 0 || (n) == 43 || (n) == 44 || (n) == 51 || (n) == 60 || (n) == 135)

/* Readable bytes of a packet, from its IP header on. */
struct view {
	struct __sk_buff *ctx;	/* set in programs that may ask the kernel to read */
	u64 base;		/* else: where it stands, */
	u32 room;		/* and how much of it is in linear memory */
};

struct packet {
	u32 family;		/* 4 or 6 */
	u32 protocol;
	u32 transport;		/* offset of the transport header */
	u32 id;			/* of the IP packet, where it has one */
	u32 src[4];
	u32 dst[4];
};

static __always_inline bool protocol_wanted(u32 protocol)
{
	return plan.ip_protocols[(protocol >> 6) & 3] & (1ULL << (protocol & 63));
}

/* Whether it may carry what is wanted for its payload; only where all of it can be read. */
static __always_inline bool payload_wanted(const struct view *v, u32 protocol)
{
	return v->ctx && ((protocol == IPPROTO_TCP && (plan.streams || plan.openings)) ||
			  (protocol == IPPROTO_UDP && (plan.datagrams || plan.names)));
}

static __always_inline int view_read(const struct view *v, u32 offset, void *to, u32 n)
{
	if (v->ctx)
		return bpf_skb_load_bytes(v->ctx, offset, to, n);
	if (offset + n > v->room)
		return -1;
	return bpf_probe_read_kernel(to, n, (void *)(v->base + offset));
}

/* 1: wanted and parsed; 0: not wanted; -1: cannot be read. */
static __always_inline int parse4(const struct view *v, const u8 *h, struct packet *p)
{
	p->protocol = h[9];
	if (!protocol_wanted(p->protocol) && !payload_wanted(v, p->protocol))
		return 0;
	/* A later fragment has no transport header. */
	if ((h[6] & 0x1f) || h[7])
		return 0;
	p->family = 4;
	p->transport = (h[0] & 15) * 4;
	p->id = *(const u32 *)(h + 4);
	p->src[0] = *(const u32 *)(h + 12);
	p->dst[0] = *(const u32 *)(h + 16);
	return 1;
}

static __always_inline int parse6(const struct view *v, u8 *h, struct packet *p)
{
	u32 next, at = HEADER6, i;

	if (view_read(v, HEADER4, h + HEADER4, HEADER6 - HEADER4))
		return -1;
	next = h[6];
	for (i = 0; i < EXTENSIONS_MAX && IS_EXTENSION(next); i++) {
		u8 e[4];

		if (view_read(v, at, e, sizeof(e)))
			return -1;
		if (next == 44) {
			if (e[2] || (e[3] & 0xf8))
				return 0;
			at += 8;
		} else if (next == 51) {
			at += (e[1] + 2) * 4;
		} else {
			at += (e[1] + 1) * 8;
		}
		next = e[0];
	}
	if (!protocol_wanted(next) && !payload_wanted(v, next))
		return 0;
	p->family = 6;
	p->protocol = next;
	p->transport = at;
	__builtin_memcpy(p->src, h + 8, 16);
	__builtin_memcpy(p->dst, h + 24, 16);
	return 1;
}

static __always_inline int parse(const struct view *v, struct packet *p)
{
	u8 h[HEADER6] __attribute__((aligned(8)));

	if (view_read(v, 0, h, HEADER4))
		return -1;
	if ((h[0] >> 4) == 4)
		return parse4(v, h, p);
	if ((h[0] >> 4) == 6)
		return parse6(v, h, p);
	return 0;
}

/*
 * What an AF_PACKET socket sends begins at the link header. Returns where the IP
 * header begins, or 0 where there is none.
 */
static __always_inline u64 past_ethernet(u64 data, u32 room)
{
	u32 at = 12, i;

	for (i = 0; i <= TAGS_MAX; i++) {
		u16 type = 0;

		if (at + 2 > room || bpf_probe_read_kernel(&type, sizeof(type), (void *)(data + at)))
			return 0;
		type = bpf_ntohs(type);
		if (type == 0x0800 || type == 0x86dd)
			return data + at + 2;
		if (type != 0x8100 && type != 0x88a8)
			return 0;
		at += 4;
	}
	return 0;
}

#endif
