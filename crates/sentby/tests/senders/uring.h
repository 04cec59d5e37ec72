// One io_uring, by raw system calls, as liburing may be missing: one request at a time.
#ifndef SENTBY_SENDERS_URING_H
#define SENTBY_SENDERS_URING_H

#include "common.h"
#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define URING_ENTRIES 8

struct uring {
	struct io_uring_sqe *sqes;
	struct io_uring_cqe *cqes;
	unsigned *sq_tail, *sq_array, *sq_flags, *cq_head, *cq_tail, sq_mask, cq_mask;
	int fd, polled;
};

static inline void *uring_map(int ring, size_t size, off_t what)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, what);

	if (p == MAP_FAILED)
		die("mmap");
	return p;
}

// Exits where there is no io_uring, or where it is forbidden.
static inline struct uring uring_open(int polled)
{
	struct io_uring_params p = { 0 };
	struct uring r = { .polled = polled };
	uint8_t *sq, *cq;

	if (polled) {
		p.flags = IORING_SETUP_SQPOLL;
		p.sq_thread_idle = 2000;
	}
	r.fd = (int)syscall(SYS_io_uring_setup, URING_ENTRIES, &p);
	if (r.fd < 0 && (errno == ENOSYS || errno == EPERM || errno == EINVAL))
		exit(EXIT_UNSUPPORTED);
	if (r.fd < 0)
		die("io_uring_setup");
	sq = uring_map(r.fd, p.sq_off.array + p.sq_entries * sizeof(unsigned), IORING_OFF_SQ_RING);
	cq = uring_map(r.fd, p.cq_off.cqes + p.cq_entries * sizeof(*r.cqes), IORING_OFF_CQ_RING);
	r.sqes = uring_map(r.fd, p.sq_entries * sizeof(*r.sqes), IORING_OFF_SQES);
	r.sq_tail = (unsigned *)(sq + p.sq_off.tail);
	r.sq_flags = (unsigned *)(sq + p.sq_off.flags);
	r.sq_array = (unsigned *)(sq + p.sq_off.array);
	r.sq_mask = *(unsigned *)(sq + p.sq_off.ring_mask);
	r.cq_head = (unsigned *)(cq + p.cq_off.head);
	r.cq_tail = (unsigned *)(cq + p.cq_off.tail);
	r.cq_mask = *(unsigned *)(cq + p.cq_off.ring_mask);
	r.cqes = (struct io_uring_cqe *)(cq + p.cq_off.cqes);
	return r;
}

// Submits one request and waits for its result.
static inline int uring_do(struct uring *r, const struct io_uring_sqe *sqe)
{
	unsigned slot = *r->sq_tail & r->sq_mask, flags = IORING_ENTER_GETEVENTS;
	int result;

	r->sqes[slot] = *sqe;
	r->sq_array[slot] = slot;
	__atomic_store_n(r->sq_tail, *r->sq_tail + 1, __ATOMIC_SEQ_CST);
	if (r->polled && (__atomic_load_n(r->sq_flags, __ATOMIC_SEQ_CST) & IORING_SQ_NEED_WAKEUP))
		flags |= IORING_ENTER_SQ_WAKEUP;
	if (syscall(SYS_io_uring_enter, r->fd, r->polled ? 0 : 1, 1, flags, NULL, 0) < 0)
		die("io_uring_enter");
	while (__atomic_load_n(r->cq_tail, __ATOMIC_ACQUIRE) == *r->cq_head)
		usleep(100);
	result = r->cqes[*r->cq_head & r->cq_mask].res;
	__atomic_store_n(r->cq_head, *r->cq_head + 1, __ATOMIC_RELEASE);
	// 5.10's polling thread may not use sockets opened elsewhere.
	if (r->polled && (result == -EINVAL || result == -EBADF || result == -EPERM))
		exit(EXIT_UNSUPPORTED);
	if (result < 0) {
		errno = -result;
		die("io_uring request");
	}
	return result;
}

#endif
