// Two processes, one raw socket: share fork|scm DEST ID.
//   fork: parent sends seq 1, its child 2, the parent 3.
//   scm:  a program that never opened a socket gets it over SCM_RIGHTS and sends 2;
//         the opener sends 1 and 3.
// Says "child PID".
#include "common.h"
#include <sys/wait.h>

static void pass_fd(int channel, int fd)
{
	char byte = 'f', control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
			      .msg_controllen = sizeof(control) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	if (sendmsg(channel, &msg, 0) != 1)
		die("sendmsg SCM_RIGHTS");
}

static int take_fd(int channel)
{
	char byte, control[CMSG_SPACE(sizeof(int))];
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
			      .msg_controllen = sizeof(control) };
	struct cmsghdr *c;
	int fd;

	if (recvmsg(channel, &msg, 0) != 1)
		die("recvmsg SCM_RIGHTS");
	c = CMSG_FIRSTHDR(&msg);
	if (!c || c->cmsg_type != SCM_RIGHTS) {
		fprintf(stderr, "no descriptor came\n");
		exit(1);
	}
	memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	return fd;
}

static void await_child(pid_t child)
{
	int status;

	if (waitpid(child, &status, 0) != child || status)
		die("child failed");
}

int main(int argc, char **argv)
{
	struct dest d;
	int fd, channel[2];
	uint16_t id;
	pid_t child;

	if (argc < 4)
		usage("share fork|scm DEST ID");
	d = parse_dest(argv[2]);
	id = (uint16_t)atoi(argv[3]);
	if (!strcmp(argv[1], "receive")) {
		send_echo(take_fd(atoi(argv[4])), &d, id, 2);
		return 0;
	}
	if (!strcmp(argv[1], "fork")) {
		fd = icmp_socket(d.sa.sa_family, SOCK_RAW);
		send_echo(fd, &d, id, 1);
		child = fork();
		if (child < 0)
			die("fork");
		if (!child) {
			send_echo(fd, &d, id, 2);
			_exit(0);
		}
	} else {
		if (socketpair(AF_UNIX, SOCK_STREAM, 0, channel))
			die("socketpair");
		child = fork();
		if (child < 0)
			die("fork");
		if (!child) {
			char number[16];

			snprintf(number, sizeof(number), "%d", channel[1]);
			execl("/proc/self/exe", "share", "receive", argv[2], argv[3], number, NULL);
			die("exec");
		}
		fd = icmp_socket(d.sa.sa_family, SOCK_RAW);
		send_echo(fd, &d, id, 1);
		pass_fd(channel[0], fd);
	}
	await_child(child);
	send_echo(fd, &d, id, 3);
	printf("child %d\n", child);
	return 0;
}
