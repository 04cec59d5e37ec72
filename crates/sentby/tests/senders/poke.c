// Sends what makes a kernel answer with an ICMP error: poke udp|tcp DEST PORT TTL COUNT.
#include "common.h"
#include <fcntl.h>

int main(int argc, char **argv)
{
	struct dest d;
	int ttl, i;

	if (argc != 6)
		usage("poke udp|tcp DEST PORT TTL COUNT");
	d = parse_dest(argv[2]);
	// sin_port and sin6_port lie at the same offset.
	d.in.sin_port = htons((uint16_t)atoi(argv[3]));
	ttl = atoi(argv[4]);
	for (i = 0; i < atoi(argv[5]); i++) {
		int tcp = !strcmp(argv[1], "tcp"), v4 = d.sa.sa_family == AF_INET;
		int fd = socket(d.sa.sa_family, tcp ? SOCK_STREAM : SOCK_DGRAM, 0);

		if (fd < 0)
			die("socket");
		if (setsockopt(fd, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_TTL : IPV6_UNICAST_HOPS,
			       &ttl, sizeof(ttl)))
			die("ttl");
		// Refusals are what this is for: errors of sending do not matter.
		if (tcp) {
			if (fcntl(fd, F_SETFL, O_NONBLOCK))
				die("O_NONBLOCK");
			(void)!connect(fd, &d.sa, d.len);
		} else {
			(void)!sendto(fd, "poke", 4, 0, &d.sa, d.len);
		}
		close(fd);
	}
	return 0;
}
