/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The hooks. Each finds the sk_buff, answers only for its own roles, and goes
 * through observe(): what they share is there, what differs is here.
 */
#include "observe.bpf.h"
#include "names.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Types that only user space's generated bindings need named here. */
const struct {
	struct sentby_packet packet;
	struct sentby_process process;
	struct sentby_outcome outcome;
	enum sentby_kind kind;
	enum sentby_hook hook;
	enum sentby_role role;
	enum sentby_evidence evidence;
	enum sentby_flag flag;
	enum sentby_process_flag process_flag;
	enum sentby_signal signal;
	enum sentby_function function;
} sentby_types = {};

static __always_inline bool answers_for(struct seen *seen, u32 hook, struct sk_buff *skb, void *ctx)
{
	seen->kind = SENTBY_KIND_PACKET;
	seen->ctx = ctx;
	seen->skb = skb;
	seen->hook = hook;
	seen->role = role_of(skb, &seen->sk);
	return plan.roles[hook] & seen->role;
}

/* Whether what a packet carries is wanted, and how much of it. */
static __always_inline bool carries_wanted(const struct view *v, struct seen *seen,
					   const struct packet *p)
{
	u64 wanted = 0;

	if (p->protocol == IPPROTO_TCP)
		wanted = segment_wanted(v->ctx, p->transport, seen->len);
	else if (p->protocol == IPPROTO_UDP && plan.datagrams)
		wanted = datagram_wanted(v->ctx, p->transport, seen->len);
	seen->want = WANTED_BYTES(wanted);
	seen->flags = WANTED_FLAGS(wanted);
	if (p->protocol == IPPROTO_UDP && plan.names && note_query(v, p))
		return true;
	return wanted;
}

/* Whether the first look tells that a packet is not wanted. */
static __always_inline bool passes(const struct view *v, const u8 *data, const u8 *end)
{
	bool six = (data[0] >> 4) == 6;
	u8 protocol = six ? data[6] : data[9];
	const u8 *h = transport_in(data);

	if (protocol_wanted(protocol))
		return false;
	if (!payload_wanted(v, protocol))
		return !(six && IS_EXTENSION(protocol));
	if (protocol == IPPROTO_UDP)
		return !plan.datagrams && h + UDP_HEADER <= end && !is_port(h + 2, DNS_PORT);
	return !plan.streams && h + TCP_HEADER <= end && !(h[13] & TCP_SYN);
}

/*
 * The kernel calls this inside ip_finish_output() and ip6_finish_output(), for
 * packets that have a socket (BPF_CGROUP_RUN_PROG_INET_EGRESS). It always lets
 * the packet through.
 */
SEC("cgroup_skb/egress")
int egress_cgroup(struct __sk_buff *ctx)
{
	struct view v = { .ctx = ctx };
	u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct packet p = {};
	struct seen seen = {};

	/* The common case, what no one asked for, leaves here. */
	if (data + HEADER4 <= end && passes(&v, data, end))
		return 1;
	if (parse(&v, &p) != 1)
		return 1;
	seen.len = ctx->len;
	seen.want = seen.len;
	if (p.protocol == IPPROTO_UDP)
		seen.segment = ctx->gso_size;
	/* Before its sender is looked for: most of what is sent begins no request. */
	if (!protocol_wanted(p.protocol) && !carries_wanted(&v, &seen, &p))
		return 1;
	if (!answers_for(&seen, SENTBY_HOOK_CGROUP_SKB, skb_of(ctx), ctx))
		return 1;
	observe(&v, &seen, &p);
	return 1;
}

/* What comes in for a socket: only answers to its own DNS queries. */
SEC("cgroup_skb/ingress")
int answers_cgroup(struct __sk_buff *ctx)
{
	struct view v = { .ctx = ctx };
	u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct seen seen = {};
	const u8 *h;

	if (data + HEADER4 > end || ((data[0] >> 4) == 6 ? data[6] : data[9]) != IPPROTO_UDP)
		return 1;
	h = transport_in(data);
	if (h + UDP_HEADER > end || !is_port(h, DNS_PORT))
		return 1;
	seen.ctx = ctx;
	seen.skb = skb_of(ctx);
	seen.len = ctx->len;
	answer_seen(&v, &seen, (data[0] >> 4) == 6);
	return 1;
}

static __always_inline void view_at(struct view *v, struct sk_buff *skb, u64 base)
{
	u64 end = (u64)READ(skb, data) + READ(skb, len) - READ(skb, data_len);

	v->ctx = NULL;
	v->base = base;
	v->room = end > base ? end - base : 0;
}

static __always_inline u64 network_header(struct sk_buff *skb)
{
	return (u64)READ(skb, head) + READ(skb, network_header);
}

/* Common to fentry and kprobe: the function's third argument is the packet. */
static __always_inline int finish_output(u32 hook, void *ctx, struct sk_buff *skb)
{
	struct packet p = {};
	struct seen seen = {};
	struct view v;
	int wanted;

	view_at(&v, skb, network_header(skb));
	wanted = parse(&v, &p);
	if (!wanted)
		return 0;
	if (!answers_for(&seen, hook, skb, ctx))
		return 0;
	if (wanted < 0) {
		COUNT(count_of(hook), lost_unreadable);
		return 0;
	}
	seen.len = READ(skb, len);
	seen.want = seen.len;
	observe(&v, &seen, &p);
	return 0;
}

SEC("fentry/ip_finish_output")
int BPF_PROG(fentry4, struct net *net, struct sock *sk, struct sk_buff *skb)
{
	return finish_output(SENTBY_HOOK_FENTRY, ctx, (void *)launder(skb));
}

SEC("fentry/ip6_finish_output")
int BPF_PROG(fentry6, struct net *net, struct sock *sk, struct sk_buff *skb)
{
	return finish_output(SENTBY_HOOK_FENTRY, ctx, (void *)launder(skb));
}

SEC("kprobe/ip_finish_output")
int BPF_KPROBE(kprobe4, struct net *net, struct sock *sk, struct sk_buff *skb)
{
	return finish_output(SENTBY_HOOK_KPROBE, ctx, skb);
}

SEC("kprobe/ip6_finish_output")
int BPF_KPROBE(kprobe6, struct net *net, struct sock *sk, struct sk_buff *skb)
{
	return finish_output(SENTBY_HOOK_KPROBE, ctx, skb);
}

/* The way out for nearly every packet where only AF_PACKET is looked for. */
static __always_inline bool from_packet_socket(struct sk_buff *skb)
{
	struct sock *sk = READ(skb, sk);

	return sk && READ(sk, __sk_common.skc_family) == AF_PACKET;
}

/*
 * Whether a packet is in another network namespace than its socket (the socket stays at
 * it since Linux 4.19, 9c4c325252c5): it has left its own, and was seen there.
 */
static __always_inline bool has_moved(struct sk_buff *skb, struct sock *sk)
{
	struct net_device *dev = READ(skb, dev);

	return READ(sk, __sk_common.skc_net.net, ns.inum) != READ(dev, nd_net.net, ns.inum);
}

/*
 * Where a packet enters a device's queue: behind neighbour resolution, once per
 * stacked device; but the only place that sees AF_PACKET senders.
 */
SEC("raw_tp/net_dev_queue")
int net_dev_queue(struct bpf_raw_tracepoint_args *ctx)
{
	struct sk_buff *skb = (void *)ctx->args[0];
	struct packet p = {};
	struct seen seen = {};
	struct view v;
	int wanted;
	u64 ip;

	if (plan.roles[SENTBY_HOOK_NET_DEV_QUEUE] == SENTBY_ROLE_PACKET_SOCKET && !from_packet_socket(skb))
		return 0;
	if (!answers_for(&seen, SENTBY_HOOK_NET_DEV_QUEUE, skb, ctx))
		return 0;
	ip = network_header(skb);
	if (seen.role == SENTBY_ROLE_PACKET_SOCKET) {
		u16 type = READ(skb, dev, type);

		if (type == ARPHRD_ETHER || type == ARPHRD_LOOPBACK) {
			view_at(&v, skb, (u64)READ(skb, data));
			ip = past_ethernet(v.base, v.room);
		}
		if (!ip)
			return 0;
	}
	view_at(&v, skb, ip);
	wanted = parse(&v, &p);
	if (!wanted)
		return 0;
	if (wanted < 0) {
		/* AF_PACKET rings send from pages; only their link header is linear. */
		COUNT(count_of(SENTBY_HOOK_NET_DEV_QUEUE), seen);
		COUNT(count_of(SENTBY_HOOK_NET_DEV_QUEUE), lost_unreadable);
		return 0;
	}
	if (seen.sk && has_moved(skb, seen.sk))
		return 0;
	seen.len = (u64)READ(skb, data) + READ(skb, len) - ip;
	seen.want = seen.len;
	observe(&v, &seen, &p);
	return 0;
}

SEC("raw_tp/softirq_entry")
int softirq_entry(void *ctx)
{
	softirq_set(1);
	return 0;
}

SEC("raw_tp/softirq_exit")
int softirq_exit(void *ctx)
{
	softirq_set(0);
	return 0;
}

/*
 * How what opening_remember() noted ends. Not by the tracepoint inet_sock_set_state: its
 * programs are skipped where one of them was interrupted, or preempted, on the same CPU
 * (bpf_trace_run(), kernel/trace/bpf_trace.c), and Linux 7.2 preempts them. Those of a
 * cgroup always run; but only for sockets that ask for it (4.16, d44874910a26).
 */
SEC("sockops")
int sock_state(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk;

	if (ctx->op == BPF_SOCK_OPS_TCP_CONNECT_CB) {
		bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags |
					       BPF_SOCK_OPS_STATE_CB_FLAG);
		return 1;
	}
	if (ctx->op != BPF_SOCK_OPS_STATE_CB)
		return 1;
	sk = ctx->sk;
	if (sk)
		opening_ends(ctx, (void *)launder(sk), ctx->args[0], ctx->args[1]);
	return 1;
}

/* A child of a followed process is followed from its first instant. */
SEC("raw_tp/sched_process_fork")
int process_fork(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *parent = (void *)ctx->args[0], *child = (void *)ctx->args[1];
	u32 from = BPF_CORE_READ(parent, tgid), to = BPF_CORE_READ(child, tgid), one = 1;

	if (from == to || !bpf_map_lookup_elem(&tracked, &from))
		return 0;
	if (bpf_map_update_elem(&tracked, &to, &one, BPF_ANY))
		COUNT(count_of(0), tracked_full);
	return 0;
}

/* Not at exit: what its socket still sends is its own, and the pid is not free yet. */
SEC("raw_tp/sched_process_free")
int process_free(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = (void *)ctx->args[0];
	u32 tgid = BPF_CORE_READ(task, tgid);

	if (BPF_CORE_READ(task, pid) == tgid)
		bpf_map_delete_elem(&tracked, &tgid);
	return 0;
}

/* Sockets that were open before sentby started. The first holder found is the owner. */
SEC("iter/task_file")
int open_sockets(struct bpf_iter__task_file *ctx)
{
	struct task_struct *task = ctx->task;
	struct file *file = ctx->file;
	struct socket *socket;
	struct owner owner = {}, *known;
	struct sock *sk;
	u32 protocol;
	u16 family;
	u64 key;

	if (!task || !file)
		return 0;
	if ((BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return 0;
	socket = BPF_CORE_READ(file, private_data);
	/* A bound AF_UNIX path has a socket's mode and is none. */
	if ((void *)BPF_CORE_READ(socket, file) != (void *)launder(file))
		return 0;
	sk = BPF_CORE_READ(socket, sk);
	family = BPF_CORE_READ(sk, __sk_common.skc_family);
	if (family != AF_INET && family != AF_INET6 && family != AF_PACKET)
		return 0;
	protocol = BPF_CORE_READ_BITFIELD_PROBED(sk, sk_protocol);
	if (family != AF_PACKET && BPF_CORE_READ_BITFIELD_PROBED(sk, sk_type) != SOCK_RAW &&
	    !protocol_wanted(protocol) && !(protocol == IPPROTO_TCP && plan.streams) &&
	    !(protocol == IPPROTO_UDP && plan.datagrams))
		return 0;
	sender_of((void *)launder(task), &owner.sender);
	owner.sender.tid = 0;
	owner.inode = socket_inode(sk);
	owner.hash = READ(sk, __sk_common.skc_hash);
	key = (u64)sk;
	known = bpf_map_lookup_elem(&owners, &key);
	if (known && known->inode == owner.inode) {
		if (known->sender.tgid != owner.sender.tgid)
			known->shared = 1;
		return 0;
	}
	bpf_map_update_elem(&owners, &key, &owner, BPF_ANY);
	return 0;
}
