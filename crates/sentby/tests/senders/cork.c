// Builds one packet in three sends with MSG_MORE: cork DEST ID COUNT.
#include "common.h"

int main(int argc, char **argv)
{
	uint8_t buf[64];
	struct dest d;
	int fd, i;

	if (argc != 4)
		usage("cork DEST ID COUNT");
	d = parse_dest(argv[1]);
	fd = icmp_socket(d.sa.sa_family, SOCK_RAW);
	if (connect(fd, &d.sa, d.len))
		die("connect");
	for (i = 1; i <= atoi(argv[3]); i++) {
		fill_echo(buf, sizeof(buf), d.sa.sa_family, (uint16_t)atoi(argv[2]), (uint16_t)i);
		// The header itself comes in two pieces.
		if (send(fd, buf, 6, MSG_MORE) != 6 || send(fd, buf + 6, 26, MSG_MORE) != 26 ||
		    send(fd, buf + 32, 32, 0) != 32)
			die("send");
	}
	return 0;
}
