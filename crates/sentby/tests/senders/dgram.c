// Pings over a SOCK_DGRAM ICMP socket, whose echo id the kernel chooses:
// dgram DEST COUNT. Says "id N" and where needed drops to nobody first.
#include "common.h"

int main(int argc, char **argv)
{
	struct dest d, bound;
	struct sockaddr_storage any;
	socklen_t len;
	int fd, count, i;

	if (argc != 3 && argc != 4)
		usage("dgram DEST COUNT [UID]");
	d = parse_dest(argv[1]);
	count = atoi(argv[2]);
	if (argc == 4 && (setgid((gid_t)atoi(argv[3])) || setuid((uid_t)atoi(argv[3]))))
		die("setuid");
	fd = icmp_socket(d.sa.sa_family, SOCK_DGRAM);
	memset(&any, 0, sizeof(any));
	any.ss_family = d.sa.sa_family;
	if (bind(fd, (struct sockaddr *)&any, d.len))
		die("bind");
	len = sizeof(bound.in6);
	if (getsockname(fd, &bound.sa, &len))
		die("getsockname");
	// sin_port and sin6_port lie at the same offset.
	printf("id %u\n", ntohs(bound.in.sin_port));
	for (i = 1; i <= count; i++)
		send_echo(fd, &d, 0, (uint16_t)i);
	return 0;
}
