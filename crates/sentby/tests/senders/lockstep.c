// Opens its socket at once, then sends one echo request per line on stdin:
// lockstep DEST ID raw|dgram. Says "ready", then "sent SEQ" after each.
#include "common.h"

int main(int argc, char **argv)
{
	char line[64];
	struct dest d;
	uint16_t id, seq = 0;
	int fd;

	if (argc != 4)
		usage("lockstep DEST ID raw|dgram");
	d = parse_dest(argv[1]);
	id = (uint16_t)atoi(argv[2]);
	fd = icmp_socket(d.sa.sa_family, strcmp(argv[3], "dgram") ? SOCK_RAW : SOCK_DGRAM);
	printf("ready\n");
	while (await_line(line, sizeof(line))) {
		send_echo(fd, &d, id, ++seq);
		printf("sent %u\n", seq);
	}
	return 0;
}
