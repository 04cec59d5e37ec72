// Writes the IPv4 header itself: hdrincl plain|options|fragments SRC DST ID.
//   plain      seq 1, 20-byte header
//   options    seq 1, header with 8 bytes of options
//   fragments  seq 1 in two fragments: the second one must not be taken for ICMP
#include "common.h"

static void send_packet(int fd, const struct dest *d, const char *src, int optlen, uint16_t frag,
			const uint8_t *body, size_t len)
{
	uint8_t packet[256] = { 0 };
	struct iphdr *ip = (struct iphdr *)packet;
	size_t header = sizeof(*ip) + (size_t)optlen;

	ip->version = 4;
	ip->ihl = (unsigned)(header / 4) & 15;
	ip->tot_len = htons((uint16_t)(header + len));
	ip->id = htons(0x5e47);
	ip->frag_off = htons(frag);
	ip->ttl = 64;
	ip->protocol = IPPROTO_ICMP;
	ip->saddr = inet_addr(src);
	ip->daddr = d->in.sin_addr.s_addr;
	memset(packet + sizeof(*ip), 1, (size_t)optlen); // IPOPT_NOP
	memcpy(packet + header, body, len);
	if (sendto(fd, packet, header + len, 0, &d->sa, d->len) != (ssize_t)(header + len))
		die("sendto");
}

int main(int argc, char **argv)
{
	uint8_t body[64];
	struct dest d;
	int fd, one = 1;

	if (argc != 5)
		usage("hdrincl plain|options|fragments SRC DST ID");
	d = parse_dest(argv[3]);
	fd = icmp_socket(AF_INET, SOCK_RAW);
	if (setsockopt(fd, IPPROTO_IP, IP_HDRINCL, &one, sizeof(one)))
		die("IP_HDRINCL");
	fill_echo(body, sizeof(body), AF_INET, (uint16_t)atoi(argv[4]), 1);
	if (!strcmp(argv[1], "fragments")) {
		// What follows the second header looks like an echo request, too.
		fill_echo(body + 32, 32, AF_INET, (uint16_t)atoi(argv[4]), 2);
		send_packet(fd, &d, argv[2], 0, 0x2000, body, 32);
		send_packet(fd, &d, argv[2], 0, 32 / 8, body + 32, 32);
	} else {
		send_packet(fd, &d, argv[2], strcmp(argv[1], "plain") ? 8 : 0, 0, body,
			    sizeof(body));
	}
	return 0;
}
