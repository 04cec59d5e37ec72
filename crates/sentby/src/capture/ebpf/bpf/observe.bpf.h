/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* One packet's way through the kernel side: whose is it, who sent it, is it wanted. */
#ifndef SENTBY_OBSERVE_H
#define SENTBY_OBSERVE_H

#include "filter.bpf.h"
#include "packet.bpf.h"
#include "opening.bpf.h"
#include "process.bpf.h"
#include "stream.bpf.h"

/*
 * The kernel shows some packets twice: on each of a stack of devices, and as the
 * looped-back clone of a multicast. The first sight counts. Both share the memory
 * at skb->head; a later packet that got the same memory has another signature or
 * comes by the first device again.
 */
struct sight {
	u64 skb;
	u64 signature;
	u64 ifindex;
};

struct sight_key {
	u64 head;
	u32 netns;
	u32 role;
};

#define SIGHTS_MAX	4096

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, SIGHTS_MAX);
	__type(key, struct sight_key);
	__type(value, struct sight);
} sights SEC(".maps");

/* Everything about one packet that does not fit into five arguments. */
struct seen {
	void *ctx;
	struct sk_buff *skb;
	struct sock *sk;
	u32 kind;		/* enum sentby_kind */
	u32 hook;
	u32 role;
	u32 netns;
	u32 ifindex;
	u32 flags;
	u32 evidence;
	u32 len;
	u32 want;		/* bytes to capture; 0: it is enough to know the sender */
	u32 segment;		/* of the datagrams that the packet will be cut into */
	u64 inode;
	u64 time;
	struct owner *owner;	/* of sk, when its sender is the running task */
	char ifname[SENTBY_IFNAME_LEN];
};

/* Sets sk to the full socket that answers for the packet, or to none. */
static __always_inline u32 role_of(struct sk_buff *skb, struct sock **answers)
{
	struct sock *sk = READ(skb, sk);
	u8 state;

	*answers = NULL;
	if (!sk)
		return READ(skb, skb_iif) ? SENTBY_ROLE_FORWARDED : SENTBY_ROLE_KERNEL;
	if (READ(sk, __sk_common.skc_family) == AF_PACKET) {
		*answers = sk;
		return SENTBY_ROLE_PACKET_SOCKET;
	}
	state = READ(sk, __sk_common.skc_state);
	if (state == TCP_TIME_WAIT)
		return SENTBY_ROLE_KERNEL;
	if (state == TCP_NEW_SYN_RECV)
		sk = READ(sk, __sk_common.skc_listener);
	if (!sk || (READ_BIT(sk, sk_kern_sock) && !is_multipath(sk)))
		return SENTBY_ROLE_KERNEL;
	*answers = sk;
	return SENTBY_ROLE_PROCESS;
}

/*
 * Tells two packets of one sender apart: the IP id, and of the transport header what
 * every protocol varies (checksum, id and sequence of ICMP; checksum of UDP; sequence
 * of TCP).
 */
static __always_inline u64 signature_of(const struct view *v, const struct packet *p)
{
	u64 head = 0;

	if (view_read(v, p->transport, &head, sizeof(head)))
		return p->id;
	return head ^ ((u64)p->id << 24) ^ p->id;
}

static __always_inline bool seen_before(const struct seen *seen, const struct view *v,
					const struct packet *p)
{
	struct sight_key key = { .netns = seen->netns, .role = seen->role };
	struct sight now = {
		.skb = (u64)seen->skb,
		.signature = signature_of(v, p),
		.ifindex = seen->ifindex,
	};
	struct sk_buff *skb = seen->skb;
	struct sight *last;

	key.head = (u64)READ(skb, head);
	last = bpf_map_lookup_elem(&sights, &key);
	if (last && last->signature == now.signature &&
	    (seen->hook == SENTBY_HOOK_NET_DEV_QUEUE ? last->ifindex != now.ifindex :
						       last->skb != now.skb))
		return true;
	bpf_map_update_elem(&sights, &key, &now, BPF_ANY);
	return false;
}

/*
 * The IP layer shows every packet once, but for the clone that ip_mc_output() and
 * ip_mc_finish_output() loop back: both run the cgroup hook (net/ipv4/ip_output.c).
 */
static __always_inline bool may_be_seen_twice(const struct seen *seen, const struct packet *p)
{
	struct sk_buff *skb = seen->skb;

	if (seen->hook == SENTBY_HOOK_NET_DEV_QUEUE)
		return true;
	return seen->hook == SENTBY_HOOK_CGROUP_SKB && p->protocol != IPPROTO_TCP && seen->role == SENTBY_ROLE_PROCESS &&
	       READ_BIT(skb, cloned);
}

static __always_inline void attribute(struct seen *seen, struct task_struct *task, struct sender *s)
{
	struct owner *owner;

	if (seen->role == SENTBY_ROLE_FORWARDED) {
		seen->evidence = SENTBY_EVIDENCE_FORWARDED;
		return;
	}
	if (seen->role == SENTBY_ROLE_KERNEL) {
		seen->evidence = SENTBY_EVIDENCE_KERNEL;
		return;
	}
	seen->inode = socket_inode(seen->sk);
	if (seen->inode)
		seen->flags |= SENTBY_HAS_INODE;
	if (in_task(task)) {
		sender_of(task, s);
		seen->evidence = SENTBY_EVIDENCE_TASK;
		seen->flags |= SENTBY_HAS_TID;
		owner = owner_remember(seen->sk, seen->inode, s);
		if (owner && owner->shared)
			seen->flags |= SENTBY_SHARED;
		seen->owner = owner;
	} else {
		owner = owner_of(seen->sk, seen->inode);
		if (!owner)
			return;
		*s = owner->sender;
		seen->evidence = SENTBY_EVIDENCE_OWNER;
		if (owner->shared)
			seen->flags |= SENTBY_SHARED;
	}
	seen->flags |= SENTBY_HAS_UID | SENTBY_HAS_COMM;
	if (s->pid)
		seen->flags |= SENTBY_HAS_PID;
}

static __always_inline bool names_a_process(const struct seen *seen)
{
	return seen->evidence == SENTBY_EVIDENCE_TASK || seen->evidence == SENTBY_EVIDENCE_OWNER;
}

/* An immediate must be one even where a branch on it is not taken. */
#define CLAMP_ROOM(n, size, room)	\
	do {				\
		if ((room) == (size))	\
			CLAMP_MAX(n, size); \
	} while (0)

/* A reservation's size must be a constant: `room`, for the n bytes that are there. */
static __always_inline void packet_emit_room(const struct view *v, const struct seen *seen,
					     const struct sender *s, struct sentby_count *count,
					     u64 n, const u32 room)
{
	struct sentby_packet *r = record_reserve(sizeof(*r) + room);

	if (!r) {
		if (seen->kind == SENTBY_KIND_ANSWER)
			COUNT(count, answer_lost);
		else if (plan.ring)
			COUNT(count, lost_ring);
		else
			COUNT(count, lost_scratch);
		return;
	}
	r->kind = seen->kind;
	r->hook = seen->hook;
	r->evidence = seen->evidence;
	r->pad = 0;
	r->flags = seen->flags;
	r->time = seen->time;
	r->start = s->start;
	r->inode = seen->inode;
	r->pid = s->pid;
	r->tid = s->tid;
	r->uid = s->uid;
	r->netns = seen->netns;
	r->ifindex = seen->ifindex;
	r->len = seen->len;
	r->segment = seen->segment;
	__builtin_memcpy(r->comm, s->comm, sizeof(r->comm));
	__builtin_memcpy(r->ifname, seen->ifname, sizeof(r->ifname));
	CLAMP_MIN1(n);
	CLAMP_ROOM(n, SENTBY_PACKET_SMALL, room);
	CLAMP_ROOM(n, SENTBY_PACKET_LARGE, room);
	CLAMP_ROOM(n, SENTBY_PAYLOAD_SMALL, room);
	CLAMP_ROOM(n, SENTBY_PAYLOAD_MEDIUM, room);
	CLAMP_ROOM(n, SENTBY_PAYLOAD_LARGE, room);
	CLAMP_ROOM(n, SENTBY_PAYLOAD_HUGE, room);
	if (v->ctx)
		r->captured = bpf_skb_load_bytes(v->ctx, 0, r + 1, n) ? 0 : n;
	else
		r->captured = bpf_probe_read_kernel(r + 1, n, (void *)v->base) ? 0 : n;
	record_submit(r, sizeof(*r) + room);
	scratch_send(seen->ctx, sizeof(*r) + room);
}

static __always_inline void packet_emit(const struct view *v, const struct seen *seen,
					const struct sender *s, struct sentby_count *count)
{
	u64 n = seen->want;

	if (!v->ctx && n > v->room)
		n = v->room;
	if (n <= SENTBY_PACKET_SMALL)
		packet_emit_room(v, seen, s, count, n, SENTBY_PACKET_SMALL);
	else if (n <= SENTBY_PACKET_LARGE || !(seen->flags & SENTBY_PAYLOAD))
		packet_emit_room(v, seen, s, count, n, SENTBY_PACKET_LARGE);
	else if (n <= SENTBY_PAYLOAD_SMALL)
		packet_emit_room(v, seen, s, count, n, SENTBY_PAYLOAD_SMALL);
	else if (n <= SENTBY_PAYLOAD_MEDIUM)
		packet_emit_room(v, seen, s, count, n, SENTBY_PAYLOAD_MEDIUM);
	else if (n <= SENTBY_PAYLOAD_LARGE || !plan.ring)
		packet_emit_room(v, seen, s, count, n, SENTBY_PAYLOAD_LARGE);
	else
		packet_emit_room(v, seen, s, count, n, SENTBY_PAYLOAD_HUGE);
}

/* A wanted protocol was parsed: everything else that happens to a packet. */
static __always_inline void observe(const struct view *v, struct seen *seen, const struct packet *p)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct sentby_count *count = count_of(seen->hook);
	struct sk_buff *skb = seen->skb;
	struct net_device *dev = READ(skb, dev);
	struct sender sender = {};
	bool child = false;

	seen->netns = READ(dev, nd_net.net, ns.inum);
	seen->ifindex = READ(dev, ifindex);
	READ_NAME(seen->ifname, dev, name);
	seen->flags |= SENTBY_HAS_IFACE | SENTBY_HAS_NETNS;
	if (may_be_seen_twice(seen, p) && seen_before(seen, v, p)) {
		COUNT(count, duplicates);
		return;
	}
	attribute(seen, task, &sender);
	if (!seen->want)
		return;
	COUNT(count, seen);
	if (!packet_wanted(p, seen->netns, seen->ifname)) {
		COUNT(count, filtered);
		return;
	}
	seen->time = bpf_ktime_get_ns();
	if (names_a_process(seen)) {
		child = descends(&sender);
		if (child)
			seen->flags |= SENTBY_DESCENDS;
		if (!sender_wanted(&sender, child, seen->evidence == SENTBY_EVIDENCE_TASK)) {
			COUNT(count, filtered);
			return;
		}
	}
	if (seen->hook == SENTBY_HOOK_CGROUP_SKB && seen->flags & SENTBY_OPENS)
		opening_remember(seen->sk, seen->inode);
	if (seen->evidence == SENTBY_EVIDENCE_TASK)
		process_tell(seen->ctx, count, task, &sender, seen->owner, seen->time);
	packet_emit(v, seen, &sender, count);
}

#endif
