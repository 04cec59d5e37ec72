/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * All there is to know about the sending process, read while it sends: a process
 * that lives two milliseconds has its full command line all the same.
 */
#ifndef SENTBY_PROCESS_H
#define SENTBY_PROCESS_H

#include "sender.bpf.h"

#define PATH_PARTS_MAX	32
#define PART_MAX	256	/* NAME_MAX and its NUL */
#define PATH_TEXT_MAX	(SENTBY_PATH_BYTES - PART_MAX)
#define PROCESSES_MAX	8192	/* user space keeps more, so it knows all of these */

/* What user space was last told about a process, by tgid. */
struct told {
	u64 start;
	u64 when;
	u32 exec_id;
	u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, PROCESSES_MAX);
	__type(key, u32);
	__type(value, struct told);
} told SEC(".maps");

/*
 * Appends a name to a path of *len bytes; false when it is full. The length lives in
 * the record: the verifier does not follow memory there, so all ways through the
 * loop look alike to it and it walks one.
 */
static __always_inline bool part_append(char *path, u32 *len, const void *name)
{
	u32 at = *(volatile u32 *)len;
	long n;

	if (at >= PATH_TEXT_MAX)
		return false;
	CLAMP_MAX(at, PATH_TEXT_MAX);
	n = bpf_probe_read_kernel_str(path + at, PART_MAX, name);
	if (n > 0)
		*(volatile u32 *)len = at + n;
	return true;
}

static __always_inline void read_exe(struct sentby_process *r, struct mm_struct *mm)
{
	struct file *file = BPF_CORE_READ(mm, exe_file);
	struct dentry *dentry = BPF_CORE_READ(file, f_path.dentry);
	struct vfsmount *vfs = BPF_CORE_READ(file, f_path.mnt);
	struct mount *mount;
	u32 i;

	if (!file || !dentry)
		return;
	if (!BPF_CORE_READ(dentry, d_hash.pprev))
		r->flags |= SENTBY_EXE_DELETED;
	mount = (void *)vfs - bpf_core_field_offset(struct mount, mnt);
	r->flags |= SENTBY_HAS_EXE | SENTBY_EXE_CUT;
	for (i = 0; i < PATH_PARTS_MAX; i++) {
		struct dentry *parent = BPF_CORE_READ(dentry, d_parent);

		if (dentry == BPF_CORE_READ(mount, mnt.mnt_root) || dentry == parent) {
			struct mount *up = BPF_CORE_READ(mount, mnt_parent);

			if (up == mount || !up) {
				r->flags &= ~SENTBY_EXE_CUT;
				break;
			}
			dentry = BPF_CORE_READ(mount, mnt_mountpoint);
			mount = up;
			continue;
		}
		if (!part_append(r->exe, &r->exe_len, BPF_CORE_READ(dentry, d_name.name)))
			break;
		dentry = parent;
	}
}

static __always_inline void read_cgroup(struct sentby_process *r, struct task_struct *task)
{
	struct kernfs_node *kn = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn);
	u32 i;

	if (!kn)
		return;
	r->flags |= SENTBY_HAS_CGROUP | SENTBY_CGROUP_CUT;
	for (i = 0; i < PATH_PARTS_MAX; i++) {
		struct kernfs_node *parent = kernfs_parent(kn);

		if (!parent) {
			r->flags &= ~SENTBY_CGROUP_CUT;
			break;
		}
		if (!part_append(r->cgroup, &r->cgroup_len, BPF_CORE_READ(kn, name)))
			break;
		kn = parent;
	}
}

static __always_inline void read_argv(struct sentby_process *r, u64 start, u64 length, u32 room)
{
	char *argv = (char *)(r + 1);
	u64 n = length;

	r->argv_len = 0;
	r->flags |= SENTBY_HAS_ARGV;
	if (!length)
		return;
	if (n > room) {
		n = room;
		r->flags |= SENTBY_ARGV_CUT;
	}
	CLAMP_MIN1(n);
	if (room == SENTBY_ARGV_SMALL)
		CLAMP_MAX(n, SENTBY_ARGV_SMALL);
	else
		CLAMP_MAX(n, SENTBY_ARGV_LARGE);
	if (!bpf_probe_read_user(argv, n, (void *)start)) {
		r->argv_len = n;
		return;
	}
	/* A page of it is swapped out: what stands before the first page's end. */
	n = 4096 - (start & 4095);
	if (n > length)
		n = length;
	CLAMP_MIN1(n);
	CLAMP_MAX(n, SENTBY_ARGV_SMALL);
	if (!bpf_probe_read_user(argv, n, (void *)start)) {
		r->argv_len = n;
		r->flags |= SENTBY_ARGV_CUT;
		return;
	}
	r->flags &= ~SENTBY_HAS_ARGV;
}

static __always_inline void read_ancestors(struct sentby_process *r, struct task_struct *leader)
{
	struct task_struct *task = leader;
	u32 i;

	for (i = 0; i < SENTBY_ANCESTORS; i++) {
		struct task_struct *parent = BPF_CORE_READ(task, real_parent, group_leader);
		u32 pid = BPF_CORE_READ(parent, tgid);

		if (!parent || parent == task || !pid)
			break;
		r->ancestor[i].pid = pid_seen(parent, pid);
		BPF_CORE_READ_INTO(&r->ancestor[i].comm, parent, comm);
		r->ancestors = i + 1;
		task = parent;
	}
	r->ppid = r->ancestors && r->ancestor[0].pid ? r->ancestor[0].pid : SENTBY_ABSENT;
}

static __always_inline void process_fill(struct sentby_process *r, struct task_struct *task)
{
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);
	struct mm_struct *mm = BPF_CORE_READ(task, mm);

	r->kind = SENTBY_KIND_PROCESS;
	r->ancestors = 0;
	r->flags = 0;
	r->exe_len = 0;
	r->cgroup_len = 0;
	r->argv_len = 0;
	r->pid = pid_seen(leader, BPF_CORE_READ(leader, tgid));
	r->start = task_start(leader);
	r->uid = BPF_CORE_READ(task, real_cred, uid.val);
	r->inner_pid = pid_inside(leader);
	BPF_CORE_READ_INTO(&r->comm, leader, comm);
	read_ancestors(r, leader);
	if (mm)
		read_exe(r, mm);
	read_cgroup(r, leader);
}

static __always_inline u64 argv_length(struct task_struct *task)
{
	struct mm_struct *mm = BPF_CORE_READ(task, mm);
	u64 start = BPF_CORE_READ(mm, arg_start);

	return start ? BPF_CORE_READ(mm, arg_end) - start : 0;
}

/*
 * Global functions, so that the verifier looks at each once and not at every way
 * that leads here; before 5.12 (e5069b9c23b3) those take numbers only. One for each
 * size, because a reservation's size must be a constant.
 */
#define PROCESS_EMIT(name, room)						\
__noinline int name(u64 current)						\
{										\
	struct task_struct *task = (void *)current;				\
	struct mm_struct *mm = BPF_CORE_READ(task, mm);				\
	struct sentby_process *r = record_reserve(sizeof(*r) + (room));		\
										\
	if (!r)									\
		return -1;							\
	process_fill(r, task);							\
	read_argv(r, BPF_CORE_READ(mm, arg_start), argv_length(task), room);	\
	record_submit(r, sizeof(*r) + (room));					\
	return 0;								\
}

PROCESS_EMIT(process_emit_small, SENTBY_ARGV_SMALL)
PROCESS_EMIT(process_emit_large, SENTBY_ARGV_LARGE)

/*
 * Sends a process record if user space has none of this process, of this program
 * it runs, or only an old one. `task` must be the running task.
 */
static __always_inline void process_tell(void *ctx, struct sentby_count *count,
					 struct task_struct *task, const struct sender *s,
					 struct owner *owner, u64 time)
{
	struct told now = { .start = s->start, .when = time }, *last;
	u32 tgid = s->tgid;
	u64 length;
	int lost;

	now.exec_id = READ(task, self_exec_id);
	/* A socket remembers for its process, which saves a look into the table. */
	if (owner && owner->told_exec == now.exec_id && time - owner->told < SENTBY_PROCESS_FRESH_NS)
		return;
	last = bpf_map_lookup_elem(&told, &tgid);
	if (last && last->start == now.start && last->exec_id == now.exec_id &&
	    time - last->when < SENTBY_PROCESS_FRESH_NS) {
		if (owner) {
			owner->told = last->when;
			owner->told_exec = now.exec_id;
		}
		return;
	}
	length = argv_length(task);
	if (length > SENTBY_ARGV_SMALL) {
		lost = process_emit_large((u64)task);
		if (!lost)
			scratch_send(ctx, sizeof(struct sentby_process) + SENTBY_ARGV_LARGE);
	} else {
		lost = process_emit_small((u64)task);
		if (!lost)
			scratch_send(ctx, sizeof(struct sentby_process) + SENTBY_ARGV_SMALL);
	}
	if (lost)
		COUNT(count, process_lost);
	else
		bpf_map_update_elem(&told, &tgid, &now, BPF_ANY);
}

#endif
