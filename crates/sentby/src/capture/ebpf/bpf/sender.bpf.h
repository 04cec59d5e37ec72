/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Who sent it: the running task, or the owner remembered for its socket. */
#ifndef SENTBY_SENDER_H
#define SENTBY_SENDER_H

#include "context.bpf.h"

/* A process as events name it. */
struct sender {
	u64 start;
	u32 pid;	/* in the reader's namespace; 0: it has none there */
	u32 tid;
	u32 tgid;	/* in the initial namespace: the key of our own tables */
	u32 uid;
	char comm[SENTBY_COMM_LEN];
};

struct owner {
	struct sender sender;
	u64 inode;	/* tells a socket from a later one at the same address */
	u64 told;	/* when user space last knew the process, else 0; see process_tell() */
	u32 told_exec;
	u32 shared;
	u32 hash;	/* of its connection: tells a socket that is closed */
	u32 pad;
};

#define OWNERS_MAX	65536

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, OWNERS_MAX);
	__type(key, u64);
	__type(value, struct owner);
} owners SEC(".maps");

/* The pid in the reader's namespace; 0 when it has none. At most four levels are looked at. */
static __always_inline u32 pid_seen(struct task_struct *task, u32 global)
{
	struct pid *pid;
	u32 level, i;

	if (!plan.pidns)
		return global;
	pid = BPF_CORE_READ(task, thread_pid);
	level = BPF_CORE_READ(pid, level);
	for (i = 0; i < 4; i++) {
		struct upid *number;

		if (i > level)
			break;
		number = (void *)pid + bpf_core_field_offset(struct pid, numbers) +
			 i * bpf_core_type_size(struct upid);
		if (BPF_CORE_READ(number, ns, ns.inum) == plan.pidns)
			return BPF_CORE_READ(number, nr);
	}
	return 0;
}

static __always_inline u32 pid_inside(struct task_struct *task)
{
	struct pid *pid = BPF_CORE_READ(task, thread_pid);
	u32 level = BPF_CORE_READ(pid, level);
	struct upid *number;

	number = (void *)pid + bpf_core_field_offset(struct pid, numbers) +
		 (level & 31) * bpf_core_type_size(struct upid);
	return BPF_CORE_READ(number, nr);
}

static __always_inline void sender_of(struct task_struct *task, struct sender *s)
{
	struct task_struct *leader = READ(task, group_leader);

	s->tgid = READ(task, tgid);
	s->tid = pid_seen(task, READ(task, pid));
	s->pid = pid_seen(leader, s->tgid);
	s->start = task_start(leader);
	s->uid = READ(task, real_cred, uid.val);
	/* iou-wrk-N and iou-sqp-N say nothing; their process's name does. */
	if (READ(task, flags) & PF_IO_WORKER)
		task = leader;
	READ_NAME(s->comm, task, comm);
}

static __always_inline u64 socket_inode(struct sock *sk)
{
	struct socket *socket = READ(sk, sk_socket);
	struct socket_alloc *both = (void *)socket;

	if (!socket)
		return 0;
	return READ(both, vfs_inode.i_ino);
}

/*
 * Whether what is kept for a socket's address is this socket's. A closed one has no
 * inode any more, but still sends what waited and what got lost; its connection's hash
 * tells it (0: it has none).
 */
static __always_inline bool is_of(u64 known, u32 hash, struct sock *sk, u64 inode)
{
	return known == inode || (!inode && hash && hash == READ(sk, __sk_common.skc_hash));
}

/*
 * Not inline: rare, and the room it needs on the stack is for all that follows. So it
 * must not READ(): see direct.bpf.h.
 */
static __noinline int owner_write(u64 sk, u64 inode, const struct sender *s, u32 shared, u32 hash)
{
	struct owner fresh = { .inode = inode, .shared = shared, .hash = hash };

	if (!s)
		return -1;
	fresh.sender = *s;
	return bpf_map_update_elem(&owners, &sk, &fresh, BPF_ANY);
}

/*
 * Looks up first and writes only what is new: half the cost of always writing. Returns
 * the entry, but for the first sight of a socket, whose entry has nothing to tell yet.
 */
static __always_inline struct owner *owner_remember(struct sock *sk, u64 inode,
						    const struct sender *s)
{
	u64 key = (u64)sk;
	struct owner *known = bpf_map_lookup_elem(&owners, &key);
	bool shared = known && is_of(known->inode, known->hash, sk, inode);

	if (shared && known->sender.tgid == s->tgid && known->sender.start == s->start)
		return known;
	owner_write(key, inode, s, shared, READ(sk, __sk_common.skc_hash));
	return shared ? bpf_map_lookup_elem(&owners, &key) : NULL;
}

static __always_inline struct owner *owner_of(struct sock *sk, u64 inode)
{
	u64 key = (u64)sk;
	struct owner *known = bpf_map_lookup_elem(&owners, &key);

	return known && is_of(known->inode, known->hash, sk, inode) ? known : NULL;
}

#endif
