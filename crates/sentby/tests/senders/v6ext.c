// Sends ICMPv6 behind extension headers: v6ext hop|dest|both DEST ID COUNT.
#include "common.h"

static void set_padding(int fd, int option)
{
	// Next header (filled in by the kernel), length 0 (8 bytes), PadN of 4 bytes.
	uint8_t header[8] = { 0, 0, 1, 4, 0, 0, 0, 0 };

	if (setsockopt(fd, IPPROTO_IPV6, option, header, sizeof(header)))
		die("extension header");
}

int main(int argc, char **argv)
{
	struct dest d;
	int fd, i;

	if (argc != 5)
		usage("v6ext hop|dest|both DEST ID COUNT");
	d = parse_dest(argv[2]);
	fd = icmp_socket(AF_INET6, SOCK_RAW);
	if (strcmp(argv[1], "dest"))
		set_padding(fd, IPV6_HOPOPTS);
	if (strcmp(argv[1], "hop"))
		set_padding(fd, IPV6_DSTOPTS);
	for (i = 1; i <= atoi(argv[4]); i++)
		send_echo(fd, &d, (uint16_t)atoi(argv[3]), (uint16_t)i);
	return 0;
}
