// Sends one ICMP message of any kind and length: icmp DEST TYPE CODE ID SEQ LEN.
#include "common.h"

int main(int argc, char **argv)
{
	uint8_t buf[65536];
	struct dest d;
	size_t len;
	int fd;

	if (argc != 7)
		usage("icmp DEST TYPE CODE ID SEQ LEN");
	d = parse_dest(argv[1]);
	len = (size_t)atol(argv[6]);
	if (len < 4 || len > sizeof(buf))
		usage("4 <= LEN <= 65536");
	fill_icmp(buf, len, d.sa.sa_family, atoi(argv[2]), atoi(argv[3]), (uint16_t)atoi(argv[4]),
		  (uint16_t)atoi(argv[5]));
	fd = icmp_socket(d.sa.sa_family, SOCK_RAW);
	if (sendto(fd, buf, len, 0, &d.sa, d.len) != (ssize_t)len)
		die("sendto");
	return 0;
}
