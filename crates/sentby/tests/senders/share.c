// Two processes, one raw socket: share fork|scm DEST ID.
//   fork: parent sends seq 1, its child 2, the parent 3.
//   scm:  a program that never opened a socket gets it over SCM_RIGHTS and sends 2;
//         the opener sends 1 and 3.
// Says "child PID".
#include "channel.h"

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
