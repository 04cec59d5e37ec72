// Sends by io_uring, so that not the thread which asked does it:
//   uring async|sqpoll DEST ID COUNT
//   async   IOSQE_ASYNC: a worker of the process
//   sqpoll  a kernel thread that polls the submission queue
// Exits 77 where there is no io_uring.
#include "uring.h"

int main(int argc, char **argv)
{
	struct uring ring;
	struct dest d;
	uint8_t buf[64];
	int fd, i;

	if (argc != 5)
		usage("uring async|sqpoll DEST ID COUNT");
	ring = uring_open(!strcmp(argv[1], "sqpoll"));
	d = parse_dest(argv[2]);
	fd = icmp_socket(d.sa.sa_family, SOCK_RAW);

	for (i = 1; i <= atoi(argv[4]); i++) {
		struct iovec iov = { buf, sizeof(buf) };
		struct msghdr msg = { .msg_name = &d.sa, .msg_namelen = d.len, .msg_iov = &iov,
				      .msg_iovlen = 1 };
		struct io_uring_sqe sqe = { .opcode = IORING_OP_SENDMSG, .fd = fd, .len = 1,
					    .flags = ring.polled ? 0 : IOSQE_ASYNC,
					    .addr = (uintptr_t)&msg };

		fill_echo(buf, sizeof(buf), d.sa.sa_family, (uint16_t)atoi(argv[3]), (uint16_t)i);
		if (uring_do(&ring, &sqe) != sizeof(buf))
			die("sent in part");
	}
	return 0;
}
