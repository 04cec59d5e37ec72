/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The user's filter as far as it was lowered. User space decides again. */
#ifndef SENTBY_FILTER_H
#define SENTBY_FILTER_H

#include "packet.bpf.h"
#include "sender.bpf.h"

#define TRACKED_MAX	65536

/* Processes that descend from one that was asked for, by tgid. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, TRACKED_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u32);
	__type(value, u32);
} tracked SEC(".maps");

static __always_inline bool list_has(const volatile struct sentby_list *list, u32 value)
{
	u32 i;

	if (!list->count)
		return true;
	for (i = 0; i < SENTBY_LIST_MAX; i++) {
		if (i >= list->count)
			break;
		if (list->value[i] == value)
			return true;
	}
	return false;
}

static __always_inline bool names_have(const volatile struct sentby_names *names, const char *name)
{
	const u32 *want = (const void *)name;
	u32 i;

	if (!names->count)
		return true;
	for (i = 0; i < SENTBY_LIST_MAX; i++) {
		const volatile u32 *have = (const volatile void *)names->value[i];

		if (i >= names->count)
			break;
		if (have[0] == want[0] && have[1] == want[1] && have[2] == want[2] &&
		    have[3] == want[3])
			return true;
	}
	return false;
}

static __always_inline bool net_has(const volatile struct sentby_net *net, u32 family,
				    const u32 *addr)
{
	if (net->family != family)
		return false;
	if ((addr[0] & net->mask[0]) != net->addr[0])
		return false;
	if (family == 4)
		return true;
	return (addr[1] & net->mask[1]) == net->addr[1] &&
	       (addr[2] & net->mask[2]) == net->addr[2] &&
	       (addr[3] & net->mask[3]) == net->addr[3];
}

static __always_inline bool nets_have(const volatile struct sentby_nets *nets, u32 family,
				      const u32 *addr)
{
	bool in = !nets->includes;
	u32 i;

	for (i = 0; i < SENTBY_NETS_MAX; i++) {
		if (i >= nets->includes)
			break;
		if (net_has(&nets->include[i], family, addr)) {
			in = true;
			break;
		}
	}
	for (i = 0; i < SENTBY_NETS_MAX; i++) {
		if (i >= nets->excludes)
			break;
		if (net_has(&nets->exclude[i], family, addr))
			return false;
	}
	return in;
}

/* What the packet alone decides. */
static __always_inline bool packet_wanted(const struct packet *p, u32 netns, const char *ifname)
{
	return nets_have(&plan.src, p->family, p->src) && nets_have(&plan.dst, p->family, p->dst) &&
	       (nets_have(&plan.either, p->family, p->src) ||
		nets_have(&plan.either, p->family, p->dst)) &&
	       list_has(&plan.netns, netns) && names_have(&plan.ifaces, ifname);
}

static __always_inline bool descends(const struct sender *s)
{
	u32 tgid = s->tgid;

	return plan.children && bpf_map_lookup_elem(&tracked, &tgid);
}

/*
 * A comm in the kernel may have bytes after its NUL; the wanted name has none. What
 * stands before the first zero byte of a word, whose lowest byte is the first: of bytes
 * that are not zero none has its highest bit in `zeros` below the first that is.
 */
static __always_inline u64 until_nul(u64 word)
{
	u64 zeros = (word - 0x0101010101010101ULL) & ~word & 0x8080808080808080ULL;

	return zeros ? word & ((zeros & -zeros) - 1) : word;
}

/* Not inline: the room it needs on the stack is not for all that is called later. */
static __noinline int comm_wanted(u64 first, u64 second)
{
	u64 comm[2] = { until_nul(first), 0 };

	/* A first word that lost something, or ends in NUL, is all there is. */
	if (comm[0] == first && first >> 56)
		comm[1] = until_nul(second);
	return names_have(&plan.comms, (const char *)comm);
}

/* What the sender decides, where it is known. */
static __always_inline bool sender_wanted(const struct sender *s, bool child, bool task)
{
	if (plan.children ? !child : !list_has(&plan.pids, s->pid))
		return false;
	if (task && !list_has(&plan.tids, s->tid))
		return false;
	if (!list_has(&plan.uids, s->uid))
		return false;
	return !plan.comms.count ||
	       comm_wanted(*(const u64 *)s->comm, *(const u64 *)(s->comm + 8));
}

#endif
