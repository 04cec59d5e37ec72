// Sends by io_uring, so that not the thread which asked does it:
//   uring async|sqpoll DEST ID COUNT
//   async   IOSQE_ASYNC: a worker of the process
//   sqpoll  a kernel thread that polls the submission queue
// Raw system calls, as liburing may be missing. Exits 77 where there is no io_uring.
#include "common.h"
#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define ENTRIES 8

static void *map(int fd, size_t size, off_t what)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, what);

	if (p == MAP_FAILED)
		die("mmap");
	return p;
}

int main(int argc, char **argv)
{
	struct io_uring_params p = { 0 };
	struct io_uring_sqe *sqes;
	struct io_uring_cqe *cqes;
	unsigned *sq_tail, *sq_array, *sq_flags, *cq_head, *cq_tail, sq_mask, cq_mask;
	uint8_t *sq, *cq, buf[64];
	struct dest d;
	int ring, fd, sqpoll, i;

	if (argc != 5)
		usage("uring async|sqpoll DEST ID COUNT");
	sqpoll = !strcmp(argv[1], "sqpoll");
	d = parse_dest(argv[2]);
	if (sqpoll) {
		p.flags = IORING_SETUP_SQPOLL;
		p.sq_thread_idle = 2000;
	}
	ring = (int)syscall(SYS_io_uring_setup, ENTRIES, &p);
	if (ring < 0 && (errno == ENOSYS || errno == EPERM || errno == EINVAL))
		return EXIT_UNSUPPORTED;
	if (ring < 0)
		die("io_uring_setup");
	sq = map(ring, p.sq_off.array + p.sq_entries * sizeof(unsigned), IORING_OFF_SQ_RING);
	cq = map(ring, p.cq_off.cqes + p.cq_entries * sizeof(*cqes), IORING_OFF_CQ_RING);
	sqes = map(ring, p.sq_entries * sizeof(*sqes), IORING_OFF_SQES);
	sq_tail = (unsigned *)(sq + p.sq_off.tail);
	sq_flags = (unsigned *)(sq + p.sq_off.flags);
	sq_array = (unsigned *)(sq + p.sq_off.array);
	sq_mask = *(unsigned *)(sq + p.sq_off.ring_mask);
	cq_head = (unsigned *)(cq + p.cq_off.head);
	cq_tail = (unsigned *)(cq + p.cq_off.tail);
	cq_mask = *(unsigned *)(cq + p.cq_off.ring_mask);
	cqes = (struct io_uring_cqe *)(cq + p.cq_off.cqes);
	fd = icmp_socket(d.sa.sa_family, SOCK_RAW);

	for (i = 1; i <= atoi(argv[4]); i++) {
		struct iovec iov = { buf, sizeof(buf) };
		struct msghdr msg = { .msg_name = &d.sa, .msg_namelen = d.len, .msg_iov = &iov,
				      .msg_iovlen = 1 };
		unsigned slot = *sq_tail & sq_mask, flags = IORING_ENTER_GETEVENTS;

		fill_echo(buf, sizeof(buf), d.sa.sa_family, (uint16_t)atoi(argv[3]), (uint16_t)i);
		memset(&sqes[slot], 0, sizeof(sqes[slot]));
		sqes[slot].opcode = IORING_OP_SENDMSG;
		sqes[slot].flags = sqpoll ? 0 : IOSQE_ASYNC;
		sqes[slot].fd = fd;
		sqes[slot].addr = (uintptr_t)&msg;
		sqes[slot].len = 1;
		sq_array[slot] = slot;
		__atomic_store_n(sq_tail, *sq_tail + 1, __ATOMIC_SEQ_CST);
		if (sqpoll &&
		    (__atomic_load_n(sq_flags, __ATOMIC_SEQ_CST) & IORING_SQ_NEED_WAKEUP))
			flags |= IORING_ENTER_SQ_WAKEUP;
		if (syscall(SYS_io_uring_enter, ring, sqpoll ? 0 : 1, 1, flags, NULL, 0) < 0)
			die("io_uring_enter");
		while (__atomic_load_n(cq_tail, __ATOMIC_ACQUIRE) == *cq_head)
			usleep(100);
		if (cqes[*cq_head & cq_mask].res != sizeof(buf)) {
			int res = cqes[*cq_head & cq_mask].res;

			// 5.10's polling thread may not use sockets opened elsewhere.
			if (res == -EINVAL || res == -EBADF || res == -EPERM)
				return EXIT_UNSUPPORTED;
			errno = -res;
			die("send");
		}
		__atomic_store_n(cq_head, *cq_head + 1, __ATOMIC_RELEASE);
	}
	return 0;
}
