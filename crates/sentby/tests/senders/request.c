// One HTTP request by one way to send, or several: request WAY DEST [DATA]
// Connects to port 80, asks for /WAY, waits for the answer. Says "child PID" where
// another process sends, "tid N" where another thread does.
#include "channel.h"
#include "uring.h"
#include <fcntl.h>
#include <linux/tcp.h>
#include <pthread.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

#define PARTS 3
#define SYN_DATA 32 // TCPI_OPT_SYN_DATA, which the C library's header may lack

static struct dest dest;
static char text[256];
static size_t len;

static int new_socket(void)
{
	int fd = socket(dest.sa.sa_family, SOCK_STREAM, IPPROTO_TCP);

	if (fd < 0)
		die("socket");
	return fd;
}

static int connected(void)
{
	int fd = new_socket();

	if (connect(fd, &dest.sa, dest.len))
		die("connect");
	return fd;
}

static void option(int fd, int level, int name)
{
	int one = 1;

	if (setsockopt(fd, level, name, &one, sizeof(one)))
		exit(EXIT_UNSUPPORTED);
}

static void all(ssize_t sent, const char *how)
{
	if (sent != (ssize_t)len)
		die(how);
}

static void answered(int fd, int times)
{
	char buf[4096], *at;
	size_t have = 0;

	while (times) {
		ssize_t n = recv(fd, buf + have, sizeof(buf) - 1 - have, 0);

		if (n <= 0)
			die("no answer");
		have += (size_t)n;
		buf[have] = 0;
		while (times && (at = strstr(buf, "\r\n\r\nok"))) {
			times--;
			have -= (size_t)(at + 6 - buf);
			memmove(buf, at + 6, have + 1);
		}
	}
}

static void plain(int fd)
{
	all(write(fd, text, len), "write");
}

// --- ways that end with an answer on a connected socket

static void way_writev(int fd)
{
	struct iovec iov[sizeof(text)];
	size_t i;

	for (i = 0; i < len; i++)
		iov[i] = (struct iovec){ text + i, 1 };
	all(writev(fd, iov, (int)len), "writev");
}

static void way_bytes(int fd)
{
	size_t i;

	option(fd, IPPROTO_TCP, TCP_NODELAY);
	for (i = 0; i < len; i++)
		if (send(fd, text + i, 1, 0) != 1)
			die("send");
}

static void way_sendmmsg(int fd)
{
	struct iovec iov[PARTS] = { { text, 5 }, { text + 5, 10 }, { text + 15, len - 15 } };
	struct mmsghdr msgs[PARTS] = { 0 };
	int i;

	for (i = 0; i < PARTS; i++) {
		msgs[i].msg_hdr.msg_iov = &iov[i];
		msgs[i].msg_hdr.msg_iovlen = 1;
	}
	if (sendmmsg(fd, msgs, PARTS, 0) != PARTS)
		die("sendmmsg");
}

static void way_zerocopy(int fd)
{
	option(fd, SOL_SOCKET, SO_ZEROCOPY);
	all(send(fd, text, len, MSG_ZEROCOPY), "send MSG_ZEROCOPY");
}

static int filed(void)
{
	int file = memfd_create("request", 0);

	if (file < 0)
		die("memfd_create");
	all(write(file, text, len), "write");
	return file;
}

static void way_sendfile(int fd)
{
	off_t from = 0;

	all(sendfile(fd, filed(), &from, len), "sendfile");
}

static void way_splice(int fd)
{
	loff_t from = 0;
	int ends[2];

	if (pipe(ends))
		die("pipe");
	all(splice(filed(), &from, ends[1], NULL, len, 0), "splice");
	all(splice(ends[0], NULL, fd, NULL, len, 0), "splice");
}

static void way_vmsplice(int fd)
{
	struct iovec iov = { text, len };
	int ends[2];

	if (pipe(ends))
		die("pipe");
	all(vmsplice(ends[1], &iov, 1, 0), "vmsplice");
	all(splice(ends[0], NULL, fd, NULL, len, 0), "splice");
}

// Pages that nobody has touched: they come while the kernel copies.
static void way_mapped(int fd)
{
	char *map = mmap(NULL, len, PROT_READ, MAP_SHARED, filed(), 0);

	if (map == MAP_FAILED)
		die("mmap");
	all(write(fd, map, len), "write");
}

static void uring(int fd, int polled, struct io_uring_sqe sqe)
{
	struct uring ring = uring_open(polled);

	sqe.fd = fd;
	all(uring_do(&ring, &sqe), "io_uring");
}

static void way_uring_send(int fd)
{
	uring(fd, 0, (struct io_uring_sqe){ .opcode = IORING_OP_SEND, .addr = (uintptr_t)text,
					    .len = (unsigned)len });
}

static void way_uring_write(int fd)
{
	uring(fd, 0, (struct io_uring_sqe){ .opcode = IORING_OP_WRITE, .addr = (uintptr_t)text,
					    .len = (unsigned)len });
}

static void way_uring_sendmsg(int fd)
{
	struct iovec iov[2] = { { text, 9 }, { text + 9, len - 9 } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };

	uring(fd, 0, (struct io_uring_sqe){ .opcode = IORING_OP_SENDMSG, .addr = (uintptr_t)&msg,
					    .len = 1 });
}

static void way_uring_async(int fd)
{
	uring(fd, 0, (struct io_uring_sqe){ .opcode = IORING_OP_SEND, .addr = (uintptr_t)text,
					    .len = (unsigned)len, .flags = IOSQE_ASYNC });
}

static void way_uring_sqpoll(int fd)
{
	uring(fd, 1, (struct io_uring_sqe){ .opcode = IORING_OP_SEND, .addr = (uintptr_t)text,
					    .len = (unsigned)len });
}

static void way_fork(int fd)
{
	pid_t child = fork();

	if (child < 0)
		die("fork");
	if (!child) {
		plain(fd);
		_exit(0);
	}
	await_child(child);
	printf("child %d\n", child);
}

// A program that never opened a socket sends on this one.
static void way_scm(int fd)
{
	int channel[2];
	pid_t child;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, channel))
		die("socketpair");
	child = fork();
	if (child < 0)
		die("fork");
	if (!child) {
		char number[16];

		close(fd);
		snprintf(number, sizeof(number), "%d", channel[1]);
		execl("/proc/self/exe", "request", "receive", number, text, NULL);
		die("exec");
	}
	pass_fd(channel[0], fd);
	await_child(child);
	printf("child %d\n", child);
}

static void *other_thread(void *fd)
{
	printf("tid %ld\n", (long)syscall(SYS_gettid));
	plain(*(int *)fd);
	return NULL;
}

static void way_thread(int fd)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, other_thread, &fd) || pthread_join(thread, NULL))
		die("thread");
}

static const struct {
	const char *name;
	void (*run)(int fd);
} ways[] = {
	{ "write", plain },
	{ "writev", way_writev },
	{ "bytes", way_bytes },
	{ "sendmmsg", way_sendmmsg },
	{ "zerocopy", way_zerocopy },
	{ "sendfile", way_sendfile },
	{ "splice", way_splice },
	{ "vmsplice", way_vmsplice },
	{ "mapped", way_mapped },
	{ "uring_send", way_uring_send },
	{ "uring_write", way_uring_write },
	{ "uring_sendmsg", way_uring_sendmsg },
	{ "uring_async", way_uring_async },
	{ "uring_sqpoll", way_uring_sqpoll },
	{ "fork", way_fork },
	{ "scm", way_scm },
	{ "thread", way_thread },
};

// --- ways that are about the connection itself

// Twice: the first brings the cookie with which the second's SYN may carry data.
static void fastopen(int by_connect)
{
	int round;

	for (round = 0; round < 2; round++) {
		struct tcp_info info = { 0 };
		socklen_t size = sizeof(info);
		int fd = new_socket();

		if (by_connect) {
			option(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT);
			if (connect(fd, &dest.sa, dest.len))
				die("connect");
			plain(fd);
		} else {
			all(sendto(fd, text, len, MSG_FASTOPEN, &dest.sa, dest.len), "sendto");
		}
		answered(fd, 1);
		if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size))
			die("TCP_INFO");
		if (round && !(info.tcpi_options & SYN_DATA)) {
			fprintf(stderr, "the SYN carried no data\n");
			exit(1);
		}
		close(fd);
	}
}

// Nagle holds back what is written behind the first; it leaves in an interrupt.
static void queued(int wait)
{
	int fd = connected(), i;

	for (i = 0; i < PARTS; i++)
		plain(fd);
	if (wait)
		answered(fd, PARTS);
}

int main(int argc, char **argv)
{
	size_t i;
	int fd;

	if (argc < 3)
		usage("request WAY DEST [TEXT]");
	if (!strcmp(argv[1], "receive")) {
		len = (size_t)snprintf(text, sizeof(text), "%s", argv[3]);
		plain(take_fd(atoi(argv[2])));
		return 0;
	}
	dest = parse_dest(argv[2]);
	dest.in.sin_port = htons(80); // where an IPv6 address has it, too
	len = (size_t)snprintf(text, sizeof(text), "GET /%s HTTP/1.1\r\nHost: h\r\n\r\n", argv[1]);
	if (!strcmp(argv[1], "fastopen") || !strcmp(argv[1], "fastopen_connect")) {
		fastopen(argv[1][8] == '_');
		return 0;
	}
	if (!strcmp(argv[1], "queued") || !strcmp(argv[1], "queued_and_gone")) {
		queued(argv[1][6] != '_');
		return 0;
	}
	for (i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		if (strcmp(ways[i].name, argv[1]))
			continue;
		fd = connected();
		ways[i].run(fd);
		answered(fd, 1);
		return 0;
	}
	usage("request WAY DEST");
	return 2;
}
