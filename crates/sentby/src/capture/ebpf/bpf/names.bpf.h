/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Answers to DNS queries, which name the addresses that a process will send to. Only
 * what was asked for is believed: the same socket sent a query with this id to this
 * server.
 *
 * Deliberately absent: DNS over TCP, on other ports than 53, and of multicast, where
 * anyone answers.
 */
#ifndef SENTBY_NAMES_H
#define SENTBY_NAMES_H

#include "observe.bpf.h"

#define DNS_PORT	53
#define DNS_RESPONSE	0x80	/* in the third byte (RFC 1035 section 4.1.1) */
#define QUERIES_MAX	4096	/* that wait for an answer */

struct query {
	u64 cookie;	/* of the socket */
	u32 id;
	u32 pad;
};

struct asked {
	u32 server[4];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, QUERIES_MAX);
	__type(key, struct query);
	__type(value, struct asked);
} queries SEC(".maps");

static __always_inline bool is_port(const u8 *at, u16 port)
{
	return (at[0] << 8 | at[1]) == port;
}

/* Where the transport header stands, if no extension header is before it. */
static __always_inline const u8 *transport_in(const u8 *data)
{
	return data + ((data[0] >> 4) == 6 ? HEADER6 : (data[0] & 15) * 4);
}

/* Whether it is a query that an answer may come to; then that is remembered. */
static __always_inline bool note_query(const struct view *v, const struct packet *p)
{
	struct query key = { .cookie = bpf_get_socket_cookie(v->ctx) };
	struct asked asked = {};
	u8 h[UDP_HEADER + 4];

	if (bpf_skb_load_bytes(v->ctx, p->transport, h, sizeof(h)))
		return false;
	if (!is_port(h + 2, DNS_PORT) || h[UDP_HEADER + 2] & DNS_RESPONSE)
		return false;
	key.id = h[UDP_HEADER] << 8 | h[UDP_HEADER + 1];
	__builtin_memcpy(asked.server, p->dst, sizeof(asked.server));
	bpf_map_update_elem(&queries, &key, &asked, BPF_ANY);
	return true;
}

/* Takes the query that a packet from this server answers, if there is one. */
static __always_inline bool take_query(struct __sk_buff *ctx, u32 id, const u32 *server)
{
	struct query key = { .cookie = bpf_get_socket_cookie(ctx), .id = id };
	struct asked *asked = bpf_map_lookup_elem(&queries, &key);
	bool same;

	if (!asked)
		return false;
	same = asked->server[0] == server[0] && asked->server[1] == server[1] &&
	       asked->server[2] == server[2] && asked->server[3] == server[3];
	if (same)
		bpf_map_delete_elem(&queries, &key);
	return same;
}

/* A UDP packet from port 53. The kernel sets skb->sk to the receiver while it asks us. */
static __always_inline void answer_seen(const struct view *v, struct seen *seen, bool six)
{
	struct sk_buff *skb = seen->skb;
	struct sock *sk = READ(skb, sk);
	u32 at = HEADER6 + UDP_HEADER, server[4] = {};
	struct sender sender = {};
	struct net_device *dev;
	struct owner *owner;
	u8 h[4];

	if (six) {
		if (bpf_skb_load_bytes(v->ctx, 8, server, 16))
			return;
	} else {
		if (bpf_skb_load_bytes(v->ctx, 0, h, 1) ||
		    bpf_skb_load_bytes(v->ctx, 12, server, 4))
			return;
		at = (h[0] & 15) * 4 + UDP_HEADER;
	}
	if (bpf_skb_load_bytes(v->ctx, at, h, sizeof(h)) || !(h[2] & DNS_RESPONSE))
		return;
	if (!take_query(v->ctx, h[0] << 8 | h[1], server) || !sk)
		return;
	seen->kind = SENTBY_KIND_ANSWER;
	seen->hook = SENTBY_HOOK_CGROUP_SKB;
	seen->want = seen->len;
	seen->time = bpf_ktime_get_ns();
	dev = READ(skb, dev);
	seen->netns = READ(dev, nd_net.net, ns.inum);
	seen->flags = SENTBY_PAYLOAD | SENTBY_HAS_NETNS;
	owner = owner_of(sk, socket_inode(sk));
	if (owner) {
		sender = owner->sender;
		seen->evidence = SENTBY_EVIDENCE_OWNER;
		if (sender.pid)
			seen->flags |= SENTBY_HAS_PID;
	}
	packet_emit(v, seen, &sender, count_of(seen->hook));
}

#endif
