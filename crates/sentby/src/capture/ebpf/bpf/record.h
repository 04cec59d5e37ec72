/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the kernel side and user space say to each other: the only definition.
 * The Rust types are generated from this header at build time; nothing is
 * written twice. Fixed-width fields, explicit padding, sizes asserted below.
 */
#ifndef SENTBY_RECORD_H
#define SENTBY_RECORD_H

#include <linux/types.h>

#define SENTBY_COMM_LEN		16	/* TASK_COMM_LEN */
#define SENTBY_IFNAME_LEN	16	/* IFNAMSIZ */
#define SENTBY_PACKET_SMALL	96	/* an echo request */
#define SENTBY_PACKET_LARGE	192	/* an ICMP error with the headers it quotes */
#define SENTBY_PAYLOAD_SMALL	512
#define SENTBY_PAYLOAD_MEDIUM	2048
#define SENTBY_PAYLOAD_LARGE	8192	/* the most that fits where there is no ring buffer */
#define SENTBY_PAYLOAD_HUGE	16640	/* SENTBY_REQUEST_MAX and the headers before it */
#define SENTBY_REQUEST_MAX	16384	/* bytes of one request that are captured */
#define SENTBY_STATES		128	/* of a table of starts; powers of 2 */
#define SENTBY_CLASSES		64
#define SENTBY_STARTS		8
#define SENTBY_RULES		16	/* more than there are starts, a power of 2 */
#define SENTBY_ANCESTORS	8
#define SENTBY_PATH_BYTES	768	/* 512 of path and room for one more name */
#define SENTBY_ARGV_SMALL	512
#define SENTBY_ARGV_LARGE	8192
#define SENTBY_LIST_MAX		16	/* exact values of one filter that are lowered */
#define SENTBY_NETS_MAX		16	/* networks of one filter that are lowered */
#define SENTBY_PROCESS_FRESH_NS	1000000000ULL
#define SENTBY_ABSENT		0xffffffffU

enum sentby_kind {
	SENTBY_KIND_PACKET = 1,
	SENTBY_KIND_PROCESS = 2,
	SENTBY_KIND_OUTCOME = 3,
	SENTBY_KIND_ANSWER = 4,		/* struct sentby_packet: a DNS answer that came in */
};

enum sentby_hook {
	SENTBY_HOOK_CGROUP_SKB,
	SENTBY_HOOK_FENTRY,
	SENTBY_HOOK_KPROBE,
	SENTBY_HOOK_NET_DEV_QUEUE,
	SENTBY_HOOKS,
};

/* Who sends, as far as the packet alone tells. Each is left to one hook. */
enum sentby_role {
	SENTBY_ROLE_PROCESS = 1,	/* through a socket of a process */
	SENTBY_ROLE_KERNEL = 2,		/* by the kernel itself */
	SENTBY_ROLE_FORWARDED = 4,	/* from another machine */
	SENTBY_ROLE_PACKET_SOCKET = 8,	/* past the IP layer, through AF_PACKET */
};

enum sentby_evidence {
	SENTBY_EVIDENCE_UNKNOWN,
	SENTBY_EVIDENCE_TASK,
	SENTBY_EVIDENCE_OWNER,
	SENTBY_EVIDENCE_KERNEL,
	SENTBY_EVIDENCE_FORWARDED,
};

enum sentby_flag {
	SENTBY_HAS_PID = 1,		/* pid, tid, start are set */
	SENTBY_HAS_TID = 2,
	SENTBY_HAS_UID = 4,
	SENTBY_HAS_COMM = 8,
	SENTBY_HAS_IFACE = 16,
	SENTBY_HAS_NETNS = 32,
	SENTBY_HAS_INODE = 64,
	SENTBY_DESCENDS = 128,		/* of a process that was asked for */
	SENTBY_SHARED = 256,		/* several processes have used the socket */
	SENTBY_PAYLOAD = 512,		/* captured for what it carries */
	SENTBY_BEGINS = 1024,		/* what it carries may begin a request */
	SENTBY_OPENS = 2048,		/* a SYN, wanted for itself */
};

/* One packet. */
struct sentby_packet {
	__u8 kind;			/* SENTBY_KIND_PACKET */
	__u8 hook;
	__u8 evidence;
	__u8 pad;
	__u32 flags;			/* enum sentby_flag */
	__u64 time;			/* CLOCK_MONOTONIC, ns */
	__u64 start;			/* start of the process since boot, ns */
	__u64 inode;			/* of the socket */
	__u32 pid;			/* tgid, in the reader's pid namespace */
	__u32 tid;
	__u32 uid;
	__u32 netns;
	__u32 ifindex;
	__u32 len;			/* of the packet, from the IP header on */
	__u32 captured;			/* bytes that follow are valid up to here */
	__u32 segment;			/* UDP: bytes carried by each datagram it is cut into, 0: it is one */
	char comm[SENTBY_COMM_LEN];
	char ifname[SENTBY_IFNAME_LEN];
	/* the packet follows, in the room that fits it */
};

/* How the opening of a connection ended. */
struct sentby_outcome {
	__u8 kind;			/* SENTBY_KIND_OUTCOME */
	__u8 state;			/* the socket's (include/net/tcp_states.h) */
	__u16 error;			/* its error, 0: none */
	__u32 pad;
	__u64 time;			/* CLOCK_MONOTONIC, ns */
	__u64 inode;			/* of the socket */
};

struct sentby_ancestor {
	__u32 pid;
	char comm[SENTBY_COMM_LEN];
};

enum sentby_process_flag {
	SENTBY_ARGV_CUT = 1,		/* argv is longer than what was read */
	SENTBY_EXE_CUT = 2,
	SENTBY_EXE_DELETED = 4,
	SENTBY_CGROUP_CUT = 8,
	SENTBY_HAS_EXE = 16,
	SENTBY_HAS_CGROUP = 32,
	SENTBY_HAS_ARGV = 64,
};

/*
 * A process, sent ahead of its first packet, after each exec, and again when the
 * last one is older than SENTBY_PROCESS_FRESH_NS. Paths are names separated by
 * NUL, the last component first.
 */
struct sentby_process {
	__u8 kind;			/* SENTBY_KIND_PROCESS */
	__u8 ancestors;
	__u16 flags;			/* enum sentby_process_flag */
	__u32 pid;			/* tgid, in the reader's pid namespace */
	__u64 start;			/* since boot, ns */
	__u32 ppid;			/* SENTBY_ABSENT: outside the reader's namespace */
	__u32 uid;
	__u32 inner_pid;		/* in its own pid namespace */
	__u32 exe_len;
	__u32 cgroup_len;
	__u32 argv_len;
	char comm[SENTBY_COMM_LEN];	/* of the leader */
	struct sentby_ancestor ancestor[SENTBY_ANCESTORS];
	char exe[SENTBY_PATH_BYTES];
	char cgroup[SENTBY_PATH_BYTES];
	/* argv follows: SENTBY_ARGV_SMALL or SENTBY_ARGV_LARGE bytes of room */
};

/* Numbers that stand for functions of the kernel; see direct.bpf.h. */
enum sentby_function {
	SENTBY_RDONLY_CAST = 0x5e17b1,
	SENTBY_KERN_CTX = 0x5e17b2,
};

/* What each hook counts, per CPU. */
struct sentby_count {
	__u64 seen;			/* packets of its roles and protocols */
	__u64 filtered;			/* dropped by the filter */
	__u64 lost_ring;		/* no room in the ring */
	__u64 lost_scratch;		/* no scratch slot (perf buffer kernels) */
	__u64 lost_unreadable;		/* headers outside of readable memory */
	__u64 duplicates;		/* the same packet on a stacked device: not seen again */
	__u64 process_lost;		/* process records without room */
	__u64 tracked_full;		/* children not followed: table full */
	__u64 outcome_lost;		/* outcomes without room */
	__u64 answer_lost;		/* DNS answers without room */
};

struct sentby_net {
	__u32 addr[4];			/* network order; IPv4 in addr[0] */
	__u32 mask[4];
	__u32 family;			/* 4 or 6 */
};

struct sentby_nets {
	__u32 includes;
	__u32 excludes;
	struct sentby_net include[SENTBY_NETS_MAX];
	struct sentby_net exclude[SENTBY_NETS_MAX];
};

struct sentby_list {
	__u32 count;
	__u32 value[SENTBY_LIST_MAX];
};

struct sentby_names {
	__u32 count;
	char value[SENTBY_LIST_MAX][SENTBY_COMM_LEN];
};

/* How much is wanted of what begins in one way; see wire/src/start.rs. */
struct sentby_rule {
	__u32 until;			/* bytes in memory order, 0: none */
	__u16 add;
	__u8 at;
	__u8 size;			/* bytes of the number at `at`, 0: none */
};

/*
 * How requests begin, as a table: state 0 rejects, 1 to `count` accept, the others go
 * on.
 */
struct sentby_starts {
	__u32 count;			/* 0: nothing is wanted */
	__u32 start;
	struct sentby_rule rule[SENTBY_RULES];	/* by accepting state */
	__u8 class_of[256];
	__u8 next[SENTBY_STATES][SENTBY_CLASSES];
};

/* How to tell softirq from task context; see context.bpf.h. */
enum sentby_signal {
	SENTBY_SIGNAL_FLAG,		/* per-CPU flag set by the softirq tracepoints */
	SENTBY_SIGNAL_PREEMPT_COUNT,	/* per-CPU variable at a known address */
	SENTBY_SIGNAL_RUNQUEUE,		/* the same, by its distance from the runqueue */
	SENTBY_SIGNAL_TASK,		/* kept in the task itself (arm64; PREEMPT_RT) */
};

/* What user space decides before load. Constant for the verifier. */
struct sentby_plan {
	__u64 ip_protocols[4];		/* bitmap of wanted IP protocol numbers */
	__u64 per_cpu_offset;		/* address of __per_cpu_offset[] */
	__u64 preempt_count;		/* address of the per-CPU preempt count */
	__s64 runqueue_distance;	/* from runqueues to the preempt count */
	__u32 signal;			/* enum sentby_signal */
	__u32 roles[SENTBY_HOOKS];	/* which hook answers for which roles */
	__u32 ring;			/* 1: BPF ring buffer, 0: perf buffer */
	__u32 wakeup_bytes;		/* a power of 2 */
	__u32 pidns;			/* inode of the reader's pid namespace, 0: initial */
	__u32 children;			/* follow descendants */
	__u32 direct;			/* read kernel memory by loads, not by a helper */
	__u32 streams;			/* look into what TCP carries */
	__u32 datagrams;		/* look into what UDP carries */
	__u32 openings;			/* SYNs, and how they end */
	__u32 names;			/* answers to DNS queries */
	__u32 pad;
	struct sentby_list pids;
	struct sentby_list tids;
	struct sentby_list uids;
	struct sentby_list netns;
	struct sentby_names comms;
	struct sentby_names ifaces;
	struct sentby_nets src;
	struct sentby_nets dst;
	struct sentby_nets either;	/* one of the two is in */
};

_Static_assert(sizeof(struct sentby_packet) == 96, "packet");
_Static_assert(sizeof(struct sentby_process) == 56 + 20 * SENTBY_ANCESTORS + 2 * SENTBY_PATH_BYTES, "process");
_Static_assert(sizeof(struct sentby_outcome) == 24, "outcome");
_Static_assert(sizeof(struct sentby_count) == 80, "count");

#endif
